/*
 * PID 1 of a guest, linked statically: it runs out of the initramfs, before there is a C library to load.
 *
 * It loads the modules that reach the disks, mounts the Debian root, the kernel's modules and the pseudo file
 * systems, runs one command with stdout and stderr on virtio ports of their own, and reports how that command ended.
 * It is C and not a shell script because every fork costs some 10 ms under software emulation, and a boot had fifty.
 *
 * The initramfs is the same for every guest with one kernel:
 *   /boot/modules     names of the files in /boot that are to be loaded, one a line, in order
 *   /guest/bin        programs for PATH
 *   /guest/lib.sh     shell functions for scripts
 *   /guest/work       the command's working directory
 *
 * What is different in each guest comes on the third disk: a header (struct header), and at FILES_BEGIN an archive of
 * the same form as an initramfs:
 *   /guest/argv       the command, each argument ended by a NUL
 *   /guest/script     the script that the command may be
 *   /guest/share      for XDG_DATA_HOME: ipft's plugins are in /guest/share/ipft/plugins
 *   /guest/send-out   present when the host wants the content of /out
 * and more in /guest/bin and /guest/work. A disk without that header is that of a guest of which the host makes a
 * snapshot: init writes "ready\n" to ipft.status and waits until the disk has one, which is after the guest was resumed.
 *
 * Until then nothing is written to the root file system, so that its image belongs to each snapshot. All guests that
 * resume from one snapshot have the same random numbers, and boot times: enough for tests, and for nothing else.
 *
 * Ports: ipft.stdout, ipft.stderr, ipft.out (a tar of /out), ipft.status ("EXIT_CODE TAR_EXIT_CODE\n", written last).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGS 4096
#define WAIT_STEP_US 2000
#define WAIT_STEPS 10000 /* 20 s: a loaded machine emulates slowly */

#define FILES_MAGIC 0x53454c4946544649ULL /* "IFTFILES" */
#define FILES_BEGIN 4096
#define CHUNK (1 << 20)

/* The beginning of the disk with the guest's files; numbers as this machine has them. */
struct header {
	uint64_t magic;
	uint64_t length;  /* of the archive */
	int64_t seconds;  /* what time it is, or 0: then the clock stays as it is */
	int64_t microseconds;
};

/* Says what failed on the console, which the host prints when no status arrives, and ends the guest. */
static void __attribute__((noreturn, format(printf, 1, 2))) give_up(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "guest init: ");
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": %s\n", strerror(error));
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void mount_or_give_up(const char *source, const char *target, const char *type, unsigned long flags)
{
	if (mkdir(target, 0755) && errno != EEXIST)
		give_up("mkdir %s", target);
	if (mount(source, target, type, flags, NULL))
		give_up("mount %s on %s", source, target);
}

/* For what a kernel may lack: the command then sees that it is not there. */
static void mount_if_possible(const char *source, const char *target, const char *type)
{
	mkdir(target, 0755);
	if (mount(source, target, type, 0, NULL))
		fprintf(stderr, "guest init: mount %s on %s: %s\n", source, target, strerror(errno));
}

static void load_modules(void)
{
	char line[NAME_MAX + 2], path[PATH_MAX];
	FILE *list = fopen("/boot/modules", "re");

	if (!list)
		give_up("open /boot/modules");
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(path, sizeof(path), "/boot/%s", line);
		int file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			give_up("open %s", path);
		if (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST)
			give_up("load %s", path);
		close(file);
	}
	fclose(list);
}

static void wait_for(const char *path)
{
	for (int step = 0; access(path, F_OK); step++) {
		if (step == WAIT_STEPS)
			give_up("wait for %s", path);
		usleep(WAIT_STEP_US);
	}
}

static void enter_root(void)
{
	static const char *const moved[] = {"dev", "proc", "sys"};
	struct utsname kernel;
	char target[PATH_MAX];

	wait_for("/dev/vda");
	wait_for("/dev/vdb");
	mount_or_give_up("/dev/vda", "/root", "ext4", MS_RDONLY | MS_NOATIME);
	if (uname(&kernel))
		give_up("uname");
	mount_or_give_up("tmpfs", "/root/lib/modules", "tmpfs", 0);
	snprintf(target, sizeof(target), "/root/lib/modules/%s", kernel.release);
	mount_or_give_up("/dev/vdb", target, "ext4", MS_RDONLY | MS_NOATIME);
	mount_or_give_up("/guest", "/root/guest", NULL, MS_BIND);
	for (size_t i = 0; i < sizeof(moved) / sizeof(*moved); i++) {
		char from[16];
		snprintf(from, sizeof(from), "/%s", moved[i]);
		snprintf(target, sizeof(target), "/root/%s", moved[i]);
		mount_or_give_up(from, target, NULL, MS_MOVE);
	}
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		give_up("enter the root file system");
}

static void furnish(void)
{
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int any;

	mount_or_give_up("tmpfs", "/tmp", "tmpfs", 0);
	chmod("/tmp", 01777);
	mount_or_give_up("tmpfs", "/run", "tmpfs", 0);
	mount_or_give_up("tmpfs", "/out", "tmpfs", 0);
	mount_or_give_up("devpts", "/dev/pts", "devpts", 0);
	mount_or_give_up("tmpfs", "/dev/shm", "tmpfs", 0);
	mount_if_possible("debugfs", "/sys/kernel/debug", "debugfs");
	mount_if_possible("tracefs", "/sys/kernel/tracing", "tracefs");
	mount_if_possible("bpf", "/sys/fs/bpf", "bpf");
	mount_if_possible("cgroup2", "/sys/fs/cgroup", "cgroup2");
	/* devtmpfs does not make these, and shells expect them. */
	if (symlink("/proc/self/fd", "/dev/fd") && errno != EEXIST)
		give_up("link /dev/fd");
	if (symlink("/proc/self/fd/1", "/dev/stdout") && errno != EEXIST)
		give_up("link /dev/stdout");
	if (symlink("/proc/self/fd/2", "/dev/stderr") && errno != EEXIST)
		give_up("link /dev/stderr");
	sethostname("guest", 5);
	any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (any < 0 || ioctl(any, SIOCSIFFLAGS, &loopback))
		give_up("set lo up");
	close(any);
}

/* Opens the port of that name; the kernel finds ports some time after the driver is loaded. */
static int open_port(const char *wanted)
{
	char path[PATH_MAX], name[64];

	for (int step = 0; step < WAIT_STEPS; step++, usleep(WAIT_STEP_US)) {
		DIR *ports = opendir("/sys/class/virtio-ports");
		struct dirent *port;
		if (!ports)
			continue;
		while ((port = readdir(ports))) {
			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", port->d_name);
			FILE *file = fopen(path, "re");
			if (!file)
				continue;
			if (!fgets(name, sizeof(name), file))
				name[0] = 0;
			fclose(file);
			name[strcspn(name, "\n")] = 0;
			if (strcmp(name, wanted))
				continue;
			snprintf(path, sizeof(path), "/dev/%s", port->d_name);
			closedir(ports);
			int opened = open(path, O_WRONLY | O_CLOEXEC);
			if (opened < 0)
				give_up("open port %s", wanted);
			return opened;
		}
		closedir(ports);
	}
	errno = ETIMEDOUT;
	give_up("find port %s", wanted);
}

/* The disk with the guest's files, read without the page cache: what was on it before the guest was resumed is not
 * what is on it now. */
struct disk {
	int file;
	char *buffer;
	off_t next;        /* where the next chunk is */
	uint64_t left;     /* bytes of the archive that are not in the buffer */
	size_t at, filled; /* in the buffer */
};

static void read_disk(struct disk *disk, size_t length)
{
	ssize_t got = pread(disk->file, disk->buffer, length, disk->next);
	if (got != (ssize_t)length)
		give_up("read the disk of files");
	disk->next += length;
}

/* Waits for a disk with a header, says so if there is none yet, and sets the clock. */
static struct disk open_disk(int status)
{
	struct disk disk = {.left = 0};
	struct header header;

	wait_for("/dev/vdc");
	disk.file = open("/dev/vdc", O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (disk.file < 0 || posix_memalign((void **)&disk.buffer, 4096, CHUNK))
		give_up("open the disk of files");
	for (bool said = false;; said = true, usleep(WAIT_STEP_US)) {
		disk.next = 0;
		read_disk(&disk, FILES_BEGIN);
		memcpy(&header, disk.buffer, sizeof(header));
		if (header.magic == FILES_MAGIC)
			break;
		if (!said)
			dprintf(status, "ready\n");
	}
	disk.left = header.length;
	struct timeval now = {.tv_sec = header.seconds, .tv_usec = header.microseconds};
	if (header.seconds && settimeofday(&now, NULL))
		give_up("set the clock");
	return disk;
}

/* Up to length bytes of the archive, in the buffer; their number. */
static size_t some(struct disk *disk, uint64_t length, char **bytes)
{
	if (disk->at == disk->filled) {
		disk->filled = disk->left < CHUNK ? disk->left : CHUNK;
		if (disk->filled == 0)
			give_up("unpack the files: the archive has no end");
		/* The disk is longer than the archive. */
		read_disk(disk, (disk->filled + 4095) & ~4095UL);
		disk->left -= disk->filled;
		disk->at = 0;
	}
	size_t there = disk->filled - disk->at;
	if (there > length)
		there = length;
	*bytes = disk->buffer + disk->at;
	disk->at += there;
	return there;
}

static void take(struct disk *disk, char *to, size_t length)
{
	for (char *from; length;) {
		size_t got = some(disk, length, &from);
		memcpy(to, from, got);
		to += got;
		length -= got;
	}
}

static void skip_padding(struct disk *disk, uint64_t length)
{
	char padding[4];

	take(disk, padding, -length & 3);
}

static unsigned long number(const char *digits)
{
	char text[9] = {0};

	memcpy(text, digits, 8);
	return strtoul(text, NULL, 16);
}

/* Unpacks what cpio.rs packs. */
static void unpack(struct disk *disk)
{
	char header[110], path[PATH_MAX];

	for (;;) {
		take(disk, header, sizeof(header));
		unsigned long mode = number(header + 14), length = number(header + 54), named = number(header + 94);
		if (memcmp(header, "070701", 6) || named < 2 || named > sizeof(path) - 1) {
			errno = EINVAL;
			give_up("unpack the files");
		}
		take(disk, path, named);
		path[named] = 0;
		skip_padding(disk, sizeof(header) + named);
		if (!strcmp(path, "TRAILER!!!"))
			return;
		if (S_ISDIR(mode)) {
			if ((mkdir(path, 0700) && errno != EEXIST) || chmod(path, mode & 07777))
				give_up("make the folder %s", path);
			continue;
		}
		int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (file < 0 || fchmod(file, mode & 07777))
			give_up("make %s", path);
		for (unsigned long left = length; left;) {
			char *from;
			size_t got = some(disk, left, &from);
			if (write(file, from, got) != (ssize_t)got)
				give_up("write %s", path);
			left -= got;
		}
		close(file);
		skip_padding(disk, length);
	}
}

static char **read_argv(void)
{
	static char *arguments[MAX_ARGS + 1];
	struct stat size;
	int file = open("/guest/argv", O_RDONLY | O_CLOEXEC);

	if (file < 0 || fstat(file, &size))
		give_up("open /guest/argv");
	char *text = calloc(1, size.st_size + 1);
	if (!text || read(file, text, size.st_size) != size.st_size)
		give_up("read /guest/argv");
	close(file);
	int count = 0;
	for (char *at = text; at < text + size.st_size; at += strlen(at) + 1) {
		if (count == MAX_ARGS) {
			errno = E2BIG;
			give_up("read /guest/argv");
		}
		arguments[count++] = at;
	}
	if (count == 0) {
		errno = EINVAL;
		give_up("find a command in /guest/argv");
	}
	return arguments;
}

/* Exit code of a finished child as a shell gives it. */
static int exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Waits for one child while it collects every orphan that ends meanwhile. */
static int wait_for_child(pid_t child)
{
	int status;

	for (;;) {
		pid_t ended = wait(&status);
		if (ended == child)
			return exit_code(status);
		if (ended < 0 && errno != EINTR)
			give_up("wait for the command");
	}
}

static int run(char *const *arguments, const char *folder, int output, int errors)
{
	pid_t child = fork();

	if (child < 0)
		give_up("fork");
	if (child == 0) {
		setsid();
		dup2(output, STDOUT_FILENO);
		dup2(errors, STDERR_FILENO);
		if (chdir(folder)) {
			fprintf(stderr, "cannot enter %s: %s\n", folder, strerror(errno));
			_exit(126);
		}
		execvp(arguments[0], arguments);
		int code = errno == ENOENT ? 127 : 126;
		fprintf(stderr, "cannot run %s in the guest: %s\n", arguments[0], strerror(errno));
		_exit(code);
	}
	return wait_for_child(child);
}

int main(void)
{
	static char *const tar[] = {"tar", "-c", "-C", "/out", ".", NULL};
	int sent = 0;

	mount_or_give_up("proc", "/proc", "proc", 0);
	mount_or_give_up("sysfs", "/sys", "sysfs", 0);
	mount_or_give_up("devtmpfs", "/dev", "devtmpfs", 0);
	load_modules();
	enter_root();
	furnish();
	int output = open_port("ipft.stdout"), errors = open_port("ipft.stderr");
	int out = open_port("ipft.out"), status = open_port("ipft.status");
	int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0)
		give_up("open /dev/null");
	setenv("XDG_DATA_HOME", "/guest/share", 1);
	setenv("PATH", "/guest/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "dumb", 1);
	setenv("LC_ALL", "C.UTF-8", 1);

	struct disk disk = open_disk(status);
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_NOATIME, NULL))
		give_up("make the root file system writable");
	unpack(&disk);
	close(disk.file);
	free(disk.buffer);
	char **command = read_argv();
	/* The host tells by this line whether it was the boot that failed. */
	fprintf(stderr, "guest init: runs the command\n");
	int code = run(command, "/guest/work", output, errors);
	/* What the command left running must not write to /out while it is being sent. */
	kill(-1, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (access("/guest/send-out", F_OK) == 0)
		sent = run(tar, "/", out, errors);
	dprintf(status, "%d %d\n", code, sent);
	reboot(RB_POWER_OFF);
	give_up("power off");
}
