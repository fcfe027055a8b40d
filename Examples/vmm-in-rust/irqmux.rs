// What irqmux.h declares, as far as this example needs it, by hand: no bindgen, no crates.
#![allow(dead_code)]
use std::ffi::{c_char, c_void, CStr};

macro_rules! handle {
    ($($name:ident),*) => { $(#[repr(C)] #[derive(Clone, Copy, Default)] pub struct $name { pub bits: u64 })* };
}
handle!(Mux, Device, Vector, Pair, Function);

pub const INTX: u32 = 0;
pub const MSIX: u32 = 2;
pub const REQ: u32 = 4;
pub const EVENT_DOORBELL: u32 = 4;
pub const EVENT_FAILED: u32 = 6;
pub const OWN_THREAD: u32 = 1;
pub const IRQ_EVENTFD: u32 = 1;
pub const IRQ_MASKABLE: u32 = 2;
pub const IRQ_AUTOMASKED: u32 = 4;
pub const ACTION_MASK: u32 = 0x08;
pub const ACTION_UNMASK: u32 = 0x10;
pub const ACTION_TRIGGER: u32 = 0x20;
pub const DATA_NONE: u32 = 1;
pub const DATA_EVENTFD: u32 = 4;
pub const TABLE_IRQCHIP: u32 = 1;
pub const PAIR_PORT: u32 = 1;
pub const WAY_KERNEL_RESAMPLE: u32 = 0;

#[repr(C)]
pub struct Event {
    pub size: u32,
    pub kind: u32,
    pub vector: Vector,
    pub tag: u64,
    pub count: u64,
    pub ticks: u64,
    pub index: u32,
    pub number: u32,
    pub error: i32,
    pub detail: u32,
}

#[repr(C)]
pub struct MuxConfig {
    pub size: u32,
    pub flags: u32,
    pub capacity: u32,
    pub timers: u32,
    pub devices: u32,
    pub pairs: u32,
    pub fan_out_targets: u32,
    pub silence_after: u32,
    pub wait: u32,
    pub best_tier: u32,
    pub adaptive_limit_ns: u64,
    pub cpu: u32,
    pub reserved: u32,
    pub handler: Option<extern "C" fn(*mut c_void, Mux, *const Event)>,
    pub context: *mut c_void,
}

#[repr(C)]
pub struct IrqInfo {
    pub size: u32,
    pub index: u32,
    pub flags: u32,
    pub count: u32,
}

#[repr(C)]
pub struct IrqSet {
    pub size: u32,
    pub index: u32,
    pub action: u32,
    pub data: u32,
    pub start: u32,
    pub count: u32,
    pub eventfds: *const i32,
    pub bytes: *const u8,
}

type Read = extern "C" fn(*mut c_void, u32, u64, u32, *mut u64) -> i32;
type Write = extern "C" fn(*mut c_void, u32, u64, u32, u64) -> i32;

#[repr(C)]
pub struct DeviceOps {
    pub size: u32,
    pub reserved: u32,
    pub info: extern "C" fn(*mut c_void, u32, *mut IrqInfo) -> i32,
    pub set_irqs: extern "C" fn(*mut c_void, *const IrqSet) -> i32,
    pub raised: extern "C" fn(*mut c_void, u32, u32, *mut u64) -> i32,
    pub last_signal: Option<extern "C" fn(*mut c_void, u32, u32) -> u64>,
    pub reset: extern "C" fn(*mut c_void) -> i32,
    pub read_region: Read,
    pub write_region: Write,
    pub released: Option<extern "C" fn(*mut c_void)>,
    pub region_size: extern "C" fn(*mut c_void, u32, *mut u64) -> i32,
}

/// INTx in the configuration space of a device of the program's own.
#[repr(C)]
#[derive(Default)]
pub struct IntxRegisters {
    pub size: u32,
    pub pin: u32,
    pub disabled: u32,
    pub asserted: u32,
    pub line: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct IntxService {
    pub size: u32,
    pub way: u32,
    pub flags: u32,
    pub gsi: u32,
    pub machine: i32,
    pub apic_vector: u32,
    pub quiet_ns: u64,
    pub drive: Option<extern "C" fn(*mut c_void, u32, u32)>,
    pub mappings: Option<extern "C" fn(*mut c_void, u32)>,
    pub context: *mut c_void,
}

#[repr(C)]
pub struct FunctionConfig {
    pub size: u32,
    pub flags: u32,
    pub requester: u32,
    pub shortcut_threshold: u32,
    pub line: *const IntxService,
    pub loop_registers: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Default)]
pub struct FunctionReport {
    pub size: u32,
    pub messaging: u32,
    pub pin: u32,
    pub disabled: u32,
    pub last_error: i32,
    pub line_error: i32,
    pub counts: [u64; 7],
    pub kernel_registers: u32,
    pub loop_registers: u32,
    pub register_counts: [u64; 3],
    pub register_error: i32,
    pub reserved: u32,
}

#[repr(C)]
pub struct Capabilities {
    pub size: u32,
    pub found: u32,
    pub identity: [u32; 4],
    pub msi: [u32; 4],
    pub msix_offset: u32,
    pub msix_vectors: u32,
    /// BAR, offset and length of the table, and the same of the pending bits.
    pub table: [u32; 3],
    pub pending: [u32; 3],
    pub others: [u32; 3],
    pub fault_offset: u32,
    pub fault: *const c_char,
}

#[repr(C)]
#[derive(Default)]
pub struct Ledger {
    pub size: u32,
    pub reserved: u32,
    pub raised: u64,
    pub delivered: u64,
    pub coalesced: u64,
    pub pending: u64,
    pub dropped: u64,
    pub unexplained: i64,
}

#[repr(C)]
#[derive(Default)]
pub struct GsiRoute {
    pub size: u32,
    pub kind: u32,
    pub address: u64,
    pub data: u32,
    pub device_id: u32,
    pub flags: u32,
    pub pins: [u8; 4],
}

#[repr(C)]
#[derive(Default)]
pub struct PairConfig {
    pub size: u32,
    pub flags: u32,
    pub address: u64,
    pub value: u64,
    pub tag: u64,
    pub width: u32,
    pub gsi: u32,
    pub eventfd: i32,
    pub reserved: u32,
}

#[repr(C)]
struct Error {
    size: u32,
    number: i32,
    available: u32,
    reserved: u32,
    name: *const c_char,
    operation: *const c_char,
    remedy: *const c_char,
}

extern "C" {
    pub fn irqmux_abi_version() -> u32;
    fn irqmux_error_read(error: *mut Error) -> i32;
    pub fn irqmux_mux_create(config: *const MuxConfig, mux: *mut Mux) -> i32;
    pub fn irqmux_mux_destroy(mux: Mux) -> i32;
    pub fn irqmux_device_attach(mux: Mux, ops: *const DeviceOps, context: *mut c_void, device: *mut Device) -> i32;
    pub fn irqmux_capabilities_read(mux: Mux, device: Device, capabilities: *mut Capabilities) -> i32;
    pub fn irqmux_intx_registers_read(line: *const IntxRegisters, offset: u64, width: u32, value: *mut u64) -> i32;
    pub fn irqmux_intx_registers_write(line: *mut IntxRegisters, offset: u64, width: u32, value: u64) -> i32;
    pub fn irqmux_intx_registers_assert(line: *mut IntxRegisters, asserted: u32) -> i32;
    pub fn irqmux_function_serve(
        mux: Mux, device: Device, config: *const FunctionConfig, function: *mut Function,
    ) -> i32;
    pub fn irqmux_function_config_read(
        mux: Mux, function: Function, offset: u64, width: u32, value: *mut u64,
    ) -> i32;
    pub fn irqmux_function_config_write(mux: Mux, function: Function, offset: u64, width: u32, value: u64) -> i32;
    pub fn irqmux_function_region_read(
        mux: Mux, function: Function, region: u32, offset: u64, width: u32, value: *mut u64,
    ) -> i32;
    pub fn irqmux_function_region_write(
        mux: Mux, function: Function, region: u32, offset: u64, width: u32, value: u64,
    ) -> i32;
    pub fn irqmux_function_report_read(mux: Mux, function: Function, report: *mut FunctionReport) -> i32;
    pub fn irqmux_guest_attach(mux: Mux, machine: i32, table: u32) -> i32;
    pub fn irqmux_gsi_allocate(mux: Mux, route: *const GsiRoute, gsi: *mut u32) -> i32;
    pub fn irqmux_pair_add(mux: Mux, config: *const PairConfig, pair: *mut Pair) -> i32;
    pub fn irqmux_pair_complete(mux: Mux, pair: Pair) -> i32;
    pub fn irqmux_ledger_read_device(mux: Mux, device: Device, ledger: *mut Ledger) -> i32;
}

pub fn size_of<T>() -> u32 {
    std::mem::size_of::<T>() as u32
}

/// A result as Rust has it: the library's own words where a call failed.
pub fn check(result: i32) -> Result<i32, String> {
    if result >= 0 {
        return Ok(result);
    }
    let empty = c"".as_ptr();
    let mut error =
        Error { size: 0, number: 0, available: 0, reserved: 0, name: empty, operation: empty, remedy: empty };
    error.size = size_of::<Error>();
    // The texts are static.
    unsafe {
        irqmux_error_read(&mut error);
        let text = |pointer| CStr::from_ptr(pointer).to_string_lossy().into_owned();
        Err(format!("{}: {}: {}", text(error.operation), text(error.name), text(error.remedy)))
    }
}
