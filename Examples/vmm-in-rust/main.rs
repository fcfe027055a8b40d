// The micro-VMM in Rust: the same guest and the same wires as Examples/vmm-in-c, by a hand-written extern block.
mod irqmux;
mod machine;

use irqmux::*;
use machine::{make_eventfd, Machine};
use std::ffi::c_void;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;

const TAG_PAIR: u64 = 1;
const TAG_RESAMPLE: u64 = 2;
const RAISE: u16 = 0x500;
const ASSERT: u16 = 0x504;
const LET_GO: u16 = 0x508;
const POWER_OFF: u16 = 0x50c;
const DOORBELL: u64 = 0x510;

/// The VMM's own emulated device: one MSI-X vector and an INTx line.
struct Board {
    eventfds: [i32; 5],
    raised: [u64; 5],
    asserted: bool,
    masked: bool,
}

impl Board {
    fn signal(&mut self, index: u32) {
        self.raised[index as usize] += 1;
        let fd = self.eventfds[index as usize];
        if fd >= 0 {
            // Borrowed: the mux closes it.
            let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
            let _ = file.write(&1u64.to_ne_bytes());
        }
    }

    /// A level-triggered line fires once and masks itself until somebody unmasks.
    fn fire(&mut self) {
        if self.asserted && !self.masked && self.eventfds[INTX as usize] >= 0 {
            self.masked = true;
            self.signal(INTX);
        }
    }

    fn set(&mut self, set: &IrqSet) -> i32 {
        const INVALID: i32 = -22;
        if set.index != INTX && set.index != MSIX {
            return if set.count == 0 { 0 } else { INVALID };
        }
        match (set.action, set.data, set.count) {
            (ACTION_TRIGGER, DATA_NONE, 0) => self.eventfds[set.index as usize] = -1,
            (ACTION_TRIGGER, DATA_EVENTFD, 1) => self.eventfds[set.index as usize] = unsafe { *set.eventfds },
            (ACTION_MASK, DATA_NONE, 1) => self.masked = true,
            (ACTION_UNMASK, DATA_NONE, 1) => self.masked = false,
            _ => return INVALID,
        }
        if set.index == INTX {
            self.fire();
        }
        0
    }
}

/// What the virtual processor's thread and the mux's share.
struct Vmm {
    board: Mutex<Board>,
    line: Mutex<Vector>,
    pair: Mutex<Pair>,
    rings: AtomicU64,
    unmasks: AtomicU64,
    failure: AtomicI32,
}

extern "C" fn info(_: *mut c_void, index: u32, info: *mut IrqInfo) -> i32 {
    let info = unsafe { &mut *info };
    info.count = (index == INTX || index == MSIX) as u32;
    info.flags = IRQ_EVENTFD | if index == INTX { IRQ_MASKABLE | IRQ_AUTOMASKED } else { 0 };
    if index <= REQ { 0 } else { -22 }
}

extern "C" fn set_irqs(context: *mut c_void, set: *const IrqSet) -> i32 {
    let vmm = unsafe { &*(context as *const Vmm) };
    vmm.board.lock().unwrap().set(unsafe { &*set })
}

extern "C" fn raised(context: *mut c_void, index: u32, _: u32, count: *mut u64) -> i32 {
    let vmm = unsafe { &*(context as *const Vmm) };
    unsafe { *count = vmm.board.lock().unwrap().raised[index as usize] };
    1
}

/// On the mux's thread, once an event.
extern "C" fn handle(context: *mut c_void, mux: Mux, event: *const Event) {
    let (vmm, event) = unsafe { (&*(context as *const Vmm), &*event) };
    let result = match event.kind {
        EVENT_DOORBELL => {
            vmm.rings.fetch_add(1, SeqCst);
            unsafe { irqmux_pair_complete(mux, *vmm.pair.lock().unwrap()) }
        }
        EVENT_SOURCE if event.tag == TAG_RESAMPLE => {
            vmm.unmasks.fetch_add(1, SeqCst);
            unsafe { irqmux_vector_acknowledge(mux, *vmm.line.lock().unwrap()) }
        }
        EVENT_FAILED => event.error,
        _ => 0,
    };
    if result < 0 {
        vmm.failure.store(result, SeqCst);
    }
}

fn connect(mux: Mux, device: Device, index: u32, route: Route) -> Result<Vector, String> {
    let connection = Connection {
        size: size_of::<Connection>(), index, first: 0, count: 1, route_count: 1, reserved: 0, routes: &route,
        tags: std::ptr::null(),
    };
    let mut vector = Vector::default();
    check(unsafe { irqmux_vectors_connect(mux, device, &connection, &mut vector) })?;
    Ok(vector)
}

fn allocate(mux: Mux, data: u32) -> Result<u32, String> {
    let route = GsiRoute { size: size_of::<GsiRoute>(), address: 0xfee0_0000, data, ..Default::default() };
    let mut gsi = 0;
    check(unsafe { irqmux_gsi_allocate(mux, &route, &mut gsi) })?;
    Ok(gsi)
}

fn run(kvm: i32, rounds: u32) -> Result<bool, String> {
    let board = Board { eventfds: [-1; 5], raised: [0; 5], asserted: false, masked: false };
    // Shared by address with the mux's thread, which is joined before the end.
    let vmm = Box::leak(Box::new(Vmm {
        board: Mutex::new(board), line: Mutex::default(), pair: Mutex::default(), rings: AtomicU64::new(0),
        unmasks: AtomicU64::new(0), failure: AtomicI32::new(0),
    }));
    let context = vmm as *const Vmm as *mut c_void;
    let mut machine = Machine::new(kvm, rounds)?;
    let mut config: MuxConfig = unsafe { std::mem::zeroed() };
    config.size = size_of::<MuxConfig>();
    config.flags = OWN_THREAD | EXPLICIT_ACK;
    config.handler = Some(handle);
    config.context = context;
    let (mut mux, mut device, mut source) = (Mux::default(), Device::default(), Source::default());
    check(unsafe { irqmux_mux_create(&config, &mut mux) })?;
    check(unsafe { irqmux_guest_attach(mux, machine.vm, TABLE_IRQCHIP) })?;
    let (message_gsi, pair_gsi) = (allocate(mux, 0x40)?, allocate(mux, 0x41)?);
    let ops = DeviceOps { size: size_of::<DeviceOps>(), reserved: 0, info, set_irqs, raised };
    check(unsafe { irqmux_device_attach(mux, &ops, context, &mut device) })?;
    // The message goes past this process: the device signals the irqfd.
    let past = Route {
        size: size_of::<Route>(), kind: ROUTE_GUEST, gsi: message_gsi, target_count: 0, targets: std::ptr::null(),
    };
    connect(mux, device, MSIX, past)?;
    let (irqfd, resample) = (make_eventfd()?, make_eventfd()?);
    machine.assign_line(irqfd, resample)?;
    check(unsafe { irqmux_source_add(mux, resample, TAG_RESAMPLE, COUNTED, &mut source) })?;
    let pair = PairConfig {
        size: size_of::<PairConfig>(), flags: PAIR_PORT, address: DOORBELL, width: 4, tag: TAG_PAIR, gsi: pair_gsi,
        ..Default::default()
    };
    check(unsafe { irqmux_pair_add(mux, &pair, &mut *vmm.pair.lock().unwrap()) })?;

    let mut by_line = false;
    loop {
        let failure = vmm.failure.load(SeqCst);
        if failure < 0 {
            return Err(format!("the mux's thread: errno {}", -failure));
        }
        match machine.run()? {
            Some(POWER_OFF) => break,
            Some(RAISE) => vmm.board.lock().unwrap().signal(MSIX),
            Some(port @ (ASSERT | LET_GO)) => {
                if !by_line {
                    // A device uses one type at a time. The line goes through the mux.
                    by_line = true;
                    check(unsafe { irqmux_vectors_disconnect(mux, device, MSIX) })?;
                    let out = Route {
                        size: size_of::<Route>(), kind: ROUTE_FAN_OUT, gsi: 0, target_count: 1, targets: &irqfd,
                    };
                    *vmm.line.lock().unwrap() = connect(mux, device, INTX, out)?;
                }
                let mut board = vmm.board.lock().unwrap();
                board.asserted = port == ASSERT;
                board.fire();
            }
            _ => continue,
        }
    }
    // The last end of interrupt may still be on its way through the loop.
    for _ in 0..2000 {
        if vmm.unmasks.load(SeqCst) >= rounds as u64 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut ledger = Ledger { size: size_of::<Ledger>(), ..Default::default() };
    check(unsafe { irqmux_ledger_read_device(mux, device, &mut ledger) })?;
    check(unsafe { irqmux_mux_destroy(mux) })?;
    let taken = [machine::MESSAGES_TAKEN, machine::LINE_TAKEN, machine::PAIR_TAKEN].map(|at| machine.count(at));
    println!("of {rounds} each, the guest took by MSI-X {}, by INTx {}, by its pair {}", taken[0], taken[1], taken[2]);
    println!("ledger: raised {}, delivered {}, unexplained {}", ledger.raised, ledger.delivered, ledger.unexplained);
    println!("exits: {}", machine.exits);
    let whole = taken.iter().all(|&count| count == rounds) && ledger.unexplained == 0;
    Ok(whole && ledger.delivered == 2 * rounds as u64)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments.get(1).map_or(Ok(200), |text| text.parse::<u32>());
    let (Ok(rounds @ 1..=1_000_000), true) = (rounds, arguments.len() <= 2) else {
        eprintln!("usage: vmm-in-rust [ROUNDS], 1 to 1000000");
        std::process::exit(64);
    };
    if unsafe { irqmux_abi_version() } != 1 {
        eprintln!("vmm-in-rust: made for version 1 of irqmux's ABI");
        std::process::exit(69);
    }
    let kvm = Machine::open_kvm().unwrap_or_else(|text| {
        eprintln!("vmm-in-rust: {text}");
        std::process::exit(69);
    });
    match run(kvm, rounds) {
        Ok(true) => {}
        Ok(false) => {
            eprintln!("vmm-in-rust: an interrupt was lost or invented: the counts above disagree");
            std::process::exit(1);
        }
        Err(text) => {
            eprintln!("vmm-in-rust: {text}");
            std::process::exit(2);
        }
    }
}
