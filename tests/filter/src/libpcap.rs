//! libpcap's compiler and interpreter.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

/// An instruction of classic BPF (`struct bpf_insn`, pcap/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

#[repr(C)]
struct Program {
    len: c_uint,
    instructions: *mut Instruction,
}

#[link(name = "pcap")]
unsafe extern "C" {
    fn pcap_open_dead(link: c_int, snapshot: c_int) -> *mut c_void;
    fn pcap_close(pcap: *mut c_void);
    fn pcap_compile(
        pcap: *mut c_void,
        program: *mut Program,
        expression: *const c_char,
        optimise: c_int,
        mask: c_uint,
    ) -> c_int;
    fn pcap_geterr(pcap: *mut c_void) -> *const c_char;
    fn pcap_freecode(program: *mut Program);
    fn bpf_filter(program: *const Instruction, packet: *const u8, length: c_uint, captured: c_uint) -> c_uint;
}

const ETHERNET: c_int = 1;
const UNKNOWN_MASK: c_uint = c_uint::MAX;

/// A compiled filter.
pub struct Filter(Vec<Instruction>);

impl Filter {
    /// Compiles for Ethernet. The optimiser removes loads, so that without it more cut packets are rejected.
    pub fn compile(expression: &str, optimise: bool) -> Result<Filter, String> {
        let text = CString::new(expression).map_err(|error| error.to_string())?;
        let mut program = Program {
            len: 0,
            instructions: std::ptr::null_mut(),
        };
        // SAFETY: the handle is closed once, the text ends with a zero, and the instructions are copied before they are
        // freed.
        unsafe {
            let pcap = pcap_open_dead(ETHERNET, 262_144);
            assert!(!pcap.is_null(), "libpcap has no memory");
            let failed = pcap_compile(pcap, &raw mut program, text.as_ptr(), optimise.into(), UNKNOWN_MASK) < 0;
            let result = if failed {
                Err(CStr::from_ptr(pcap_geterr(pcap)).to_string_lossy().into_owned())
            } else {
                let code = std::slice::from_raw_parts(program.instructions, program.len as usize).to_vec();
                pcap_freecode(&raw mut program);
                Ok(Filter(code))
            };
            pcap_close(pcap);
            result
        }
    }

    /// Returns whether the bytes of a packet of `length` bytes match.
    pub fn matches(&self, packet: &[u8], length: u32) -> bool {
        let captured = c_uint::try_from(packet.len()).expect("packets are short");
        // SAFETY: libpcap compiled the program, and `captured` bytes can be read.
        unsafe { bpf_filter(self.0.as_ptr(), packet.as_ptr(), length, captured) != 0 }
    }
}
