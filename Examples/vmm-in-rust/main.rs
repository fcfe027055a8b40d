// The micro-VMM in Rust: the same guest, device and wires as Examples/vmm-in-c, by a hand-written extern block.
mod bus;
mod device;
mod irqmux;
mod machine;

use bus::Bus;
use device::Board;
use irqmux::*;
use machine::Machine;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

const TAG_PAIR: u64 = 1;
const POWER_OFF: u64 = 0x50c;
const DOORBELL: u64 = 0x510;
const LINE: u32 = 5;
const MASKED_MESSAGES: u32 = 2;

/// What the virtual processor's thread and the mux's share.
struct Shared {
    pair: Mutex<Pair>,
    rings: AtomicU64,
    failure: AtomicI32,
}

/// On the mux's thread, once an event. Interrupts are not among them: their ways end in the guest.
extern "C" fn handle(context: *mut c_void, mux: Mux, event: *const Event) {
    let (shared, event) = unsafe { (&*(context as *const Shared), &*event) };
    let result = match event.kind {
        EVENT_DOORBELL => {
            shared.rings.fetch_add(1, SeqCst);
            unsafe { irqmux_pair_complete(mux, *shared.pair.lock().unwrap()) }
        }
        EVENT_FAILED => event.error,
        _ => 0,
    };
    if result < 0 {
        shared.failure.store(result, SeqCst);
    }
}

fn make_mux(shared: &'static Shared, machine: &Machine) -> Result<Mux, String> {
    let mut config: MuxConfig = unsafe { std::mem::zeroed() };
    config.size = size_of::<MuxConfig>();
    config.flags = OWN_THREAD;
    config.handler = Some(handle);
    config.context = shared as *const Shared as *mut c_void;
    let mut mux = Mux::default();
    check(unsafe { irqmux_mux_create(&config, &mut mux) })?;
    check(unsafe { irqmux_guest_attach(mux, machine.vm, TABLE_IRQCHIP) })?;
    Ok(mux)
}

/// The device, and its interrupts as the guest sees them: INTx by KVM's resampling while MSI-X is off.
fn serve(mux: Mux, board: &Arc<Board>, machine: &Machine) -> Result<(Device, Bus), String> {
    let (mut device, mut function) = (Device::default(), Function::default());
    let context = Arc::as_ptr(board) as *mut c_void;
    check(unsafe { irqmux_device_attach(mux, &device::ops(), context, &mut device) })?;
    let mut line: IntxService = unsafe { std::mem::zeroed() };
    line.size = size_of::<IntxService>();
    line.way = WAY_KERNEL_RESAMPLE;
    line.gsi = LINE;
    line.machine = machine.vm;
    let config = FunctionConfig {
        size: size_of::<FunctionConfig>(), flags: 0, requester: 0, shortcut_threshold: 0, line: &line,
        loop_registers: 0, reserved: 0,
    };
    check(unsafe { irqmux_function_serve(mux, device, &config, &mut function) })?;
    let mut found: Capabilities = unsafe { std::mem::zeroed() };
    found.size = size_of::<Capabilities>();
    check(unsafe { irqmux_capabilities_read(mux, device, &mut found) })?;
    let overlays = [found.table, found.pending];
    Ok((device, Bus { mux, function, board: board.clone(), overlays, address: 0 }))
}

fn add_pair(mux: Mux) -> Result<Pair, String> {
    let route = GsiRoute { size: size_of::<GsiRoute>(), address: 0xfee0_0000, data: 0x41, ..Default::default() };
    let mut config = PairConfig {
        size: size_of::<PairConfig>(), flags: PAIR_PORT, address: DOORBELL, width: 4, tag: TAG_PAIR,
        ..Default::default()
    };
    let mut pair = Pair::default();
    check(unsafe { irqmux_gsi_allocate(mux, &route, &mut config.gsi) })?;
    check(unsafe { irqmux_pair_add(mux, &config, &mut pair) })?;
    Ok(pair)
}

fn run(kvm: i32, rounds: u32) -> Result<bool, String> {
    // Shared by address with the mux's thread, which is joined before the end.
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        pair: Mutex::default(), rings: AtomicU64::new(0), failure: AtomicI32::new(0),
    }));
    let mut machine = Machine::new(kvm, rounds)?;
    let mux = make_mux(shared, &machine)?;
    let board = Board::new()?;
    let (device, mut bus) = serve(mux, &board, &machine)?;
    *shared.pair.lock().unwrap() = add_pair(mux)?;
    loop {
        let failure = shared.failure.load(SeqCst);
        if failure < 0 {
            return Err(format!("the mux's thread: errno {}", -failure));
        }
        match machine.run()? {
            Some(access) if access.is_port && access.address == POWER_OFF => break,
            Some(access) => bus.answer(&access)?,
            None => continue,
        }
    }
    let mut served = FunctionReport { size: size_of::<FunctionReport>(), ..Default::default() };
    check(unsafe { irqmux_function_report_read(mux, bus.function, &mut served) })?;
    let mut ledger = Ledger { size: size_of::<Ledger>(), ..Default::default() };
    check(unsafe { irqmux_ledger_read_device(mux, device, &mut ledger) })?;
    check(unsafe { irqmux_mux_destroy(mux) })?;
    let count = |at| machine.count(at);
    let (messages, line, pair) =
        (count(machine::MESSAGES_TAKEN), count(machine::LINE_TAKEN), count(machine::PAIR_TAKEN));
    let (all, pending) = (rounds + MASKED_MESSAGES, count(machine::PENDING_SEEN));
    println!("MSI-X: {messages} of {all} taken by the guest, past this process");
    println!("masked: {pending} of {MASKED_MESSAGES} seen in the pending bits, delivered by unmasking");
    println!("INTx: {line} of {rounds} taken by the guest, ended in the kernel");
    println!("pair: {pair} of {rounds} completed, doorbell rung {} times", shared.rings.load(SeqCst));
    println!("ledger: raised {}, delivered {}, unexplained {}", ledger.raised, ledger.delivered, ledger.unexplained);
    println!("exits: {}", machine.exits);
    let refused = served.last_error != 0 || served.line_error != 0;
    let taken = messages == all && pending == MASKED_MESSAGES && line == rounds && pair == rounds;
    Ok(taken && !refused && ledger.unexplained == 0 && ledger.delivered == (all + rounds) as u64)
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
