// What irqmux.h declares, as far as this example needs it, by hand: no bindgen, no crates.
#![allow(dead_code)]
use std::ffi::{c_char, c_void, CStr};

macro_rules! handle {
    ($($name:ident),*) => { $(#[repr(C)] #[derive(Clone, Copy, Default)] pub struct $name { pub bits: u64 })* };
}
handle!(Mux, Device, Vector, Pair, Source);

pub const INTX: u32 = 0;
pub const MSIX: u32 = 2;
pub const REQ: u32 = 4;
pub const EVENT_SOURCE: u32 = 3;
pub const EVENT_DOORBELL: u32 = 4;
pub const EVENT_FAILED: u32 = 6;
pub const OWN_THREAD: u32 = 1;
pub const EXPLICIT_ACK: u32 = 8;
pub const COUNTED: u32 = 1;
pub const IRQ_EVENTFD: u32 = 1;
pub const IRQ_MASKABLE: u32 = 2;
pub const IRQ_AUTOMASKED: u32 = 4;
pub const ACTION_MASK: u32 = 0x08;
pub const ACTION_UNMASK: u32 = 0x10;
pub const ACTION_TRIGGER: u32 = 0x20;
pub const DATA_NONE: u32 = 1;
pub const DATA_EVENTFD: u32 = 4;
pub const ROUTE_GUEST: u32 = 1;
pub const ROUTE_FAN_OUT: u32 = 3;
pub const TABLE_IRQCHIP: u32 = 1;
pub const PAIR_PORT: u32 = 1;

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

/// The table up to `raised`: a smaller struct than the library's is completed with nulls.
#[repr(C)]
pub struct DeviceOps {
    pub size: u32,
    pub reserved: u32,
    pub info: extern "C" fn(*mut c_void, u32, *mut IrqInfo) -> i32,
    pub set_irqs: extern "C" fn(*mut c_void, *const IrqSet) -> i32,
    pub raised: extern "C" fn(*mut c_void, u32, u32, *mut u64) -> i32,
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
pub struct Route {
    pub size: u32,
    pub kind: u32,
    pub gsi: u32,
    pub target_count: u32,
    pub targets: *const i32,
}

#[repr(C)]
pub struct Connection {
    pub size: u32,
    pub index: u32,
    pub first: u32,
    pub count: u32,
    pub route_count: u32,
    pub reserved: u32,
    pub routes: *const Route,
    pub tags: *const u64,
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
    pub fn irqmux_source_add(mux: Mux, fd: i32, tag: u64, delivery: u32, source: *mut Source) -> i32;
    pub fn irqmux_device_attach(mux: Mux, ops: *const DeviceOps, context: *mut c_void, device: *mut Device) -> i32;
    pub fn irqmux_vectors_connect(mux: Mux, device: Device, connection: *const Connection, out: *mut Vector) -> i32;
    pub fn irqmux_vectors_disconnect(mux: Mux, device: Device, index: u32) -> i32;
    pub fn irqmux_vector_acknowledge(mux: Mux, vector: Vector) -> i32;
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
