/* A native plugin that acts like an attacker who has escaped a sandbox: in its first call after attaching, it tries
 * what an attacker could use, and prints a line with the result of each attempt. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ipft_plugin.h"

static const struct ipft_host *host;

static void tell(const char *what, long result)
{
    char line[128];
    int len = snprintf(line, sizeof(line), "%s %s\n", what, result < 0 ? "refused" : "done");
    host->write(host->context, line, len);
}

/* In a child process, as it would not return. */
static long execute(void)
{
    static char *const arguments[] = { "/bin/true", NULL };
    int status;
    long pid = fork();
    if (pid == 0) {
        execve(arguments[0], arguments, NULL);
        _exit(1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static const char *start(const struct ipft_host *given, const struct ipft_trace *trace, const struct ipft_fact *options,
                         uint64_t option_count, void **instance)
{
    static char attributes[128];
    host = given;
    *instance = attributes;
    tell("read-secret", open("/etc/shadow", O_RDONLY));
    tell("read-public", open("/etc/passwd", O_RDONLY));
    tell("write-new", open("/tmp/planted", O_WRONLY | O_CREAT | O_EXCL, 0600));
    tell("write-old", open("/etc/passwd", O_WRONLY | O_APPEND));
    tell("read-memory", open("/proc/1/mem", O_RDWR));
    tell("socket", socket(AF_INET, SOCK_STREAM, 0));
    tell("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    tell("unix-socket", socket(AF_UNIX, SOCK_STREAM, 0));
    tell("ptrace", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
    tell("signal", kill(1, 0));
    /* BPF_MAP_CREATE of an array, BPF_PROG_GET_NEXT_ID. */
    ((int *)attributes)[0] = 2;
    ((int *)attributes)[1] = ((int *)attributes)[2] = 4;
    ((int *)attributes)[3] = 1;
    tell("bpf-map", syscall(SYS_bpf, 0, attributes, sizeof(attributes)));
    memset(attributes, 0, sizeof(attributes));
    tell("bpf-programs", syscall(SYS_bpf, 11, attributes, sizeof(attributes)));
    tell("mount", mount("none", "/mnt", "tmpfs", 0, NULL));
    tell("namespace", syscall(SYS_unshare, 0x40000000));
    tell("module", syscall(SYS_finit_module, 0, "", 0));
    tell("io-uring", syscall(SYS_io_uring_setup, 1, attributes));
    tell("code", mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
                     ? -1
                     : 0);
    tell("setuid-file", fchmod(1, 04755));
    tell("key-press", ioctl(0, TIOCSTI, "x"));
    tell("user", syscall(SYS_setuid, 1000));
    tell("execute", execute());
    return NULL;
}

static const char *events(void *instance, const struct ipft_event *events, uint64_t event_count, const uint8_t *payload,
                          uint64_t payload_len)
{
    return NULL;
}

static const char *finish(void *instance, const struct ipft_summary *summary)
{
    return NULL;
}

static void destroy(void *instance)
{
}

static const char description[] =
    "{ \"contract\": \"0.1.0\", \"name\": \"escape\", \"version\": \"1.0.0\","
    "  \"about\": \"Tries what an attacker would\", \"license\": \"MIT\", \"options\": [] }";

static const struct ipft_plugin plugin = {
    .version = IPFT_PLUGIN_VERSION,
    .struct_size = sizeof(plugin),
    .description = { description, sizeof(description) - 1 },
    .start = start,
    .events = events,
    .finish = finish,
    .destroy = destroy,
};

const struct ipft_plugin *ipft_plugin_v0(void)
{
    return &plugin;
}
