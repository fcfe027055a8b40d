// The VMM's own emulated device: a PCI function with one MSI-X vector and an INTx line; as Examples/vmm-in-c/device.c.
use crate::irqmux::*;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

pub const BAR_SIZE: u64 = 0x1000;
const BAR_MESSAGES: u32 = 2;
const CONFIGURATION: u32 = 7;
const BAR_REGISTERS: usize = 0x10;
const CAPABILITY: usize = 0x40;
const RAISE: u64 = 0x00;
const ASSERT: u64 = 0x04;
const LET_GO: u64 = 0x08;
const INVALID: i32 = -22;

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

extern "C" {
    fn eventfd(initial: u32, flags: c_int) -> c_int;
    fn dup(fd: c_int) -> c_int;
    fn poll(fds: *mut PollFd, count: u64, timeout: c_int) -> c_int;
}

fn signal(fd: i32) {
    if fd >= 0 {
        // Borrowed: the mux, or the device, closes it. A full counter is as good as a signal.
        let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        let _ = file.write(&1u64.to_ne_bytes());
    }
}

fn take(fd: i32) -> bool {
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    fd >= 0 && file.read(&mut [0; 8]).is_ok()
}

struct State {
    message: i32,
    line: i32,
    /// The eventfd that unmasks, a duplicate; what wakes its listener.
    unmask: Option<OwnedFd>,
    wake: OwnedFd,
    raised: [u64; 5],
    masked: bool,
    pin: IntxRegisters,
    space: [u8; 256],
}

/// The virtual processor raises, the mux's thread assigns, the listener unmasks.
pub struct Board(Mutex<State>);

impl State {
    fn put(&mut self, offset: usize, value: u32) {
        self.space[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// A level-triggered line fires once and masks itself until somebody unmasks; then again if it is still up.
    fn fire(&mut self) {
        if self.pin.asserted == 1 && self.pin.disabled == 0 && !self.masked && self.line >= 0 {
            self.masked = true;
            self.raised[INTX as usize] += 1;
            signal(self.line);
        }
    }

    fn unmask_by(&mut self, fd: i32) {
        self.unmask = if fd < 0 { None } else { Some(unsafe { OwnedFd::from_raw_fd(dup(fd)) }) };
        signal(self.wake.as_raw_fd());
    }

    fn set_line(&mut self, set: &IrqSet) -> i32 {
        match (set.action, set.data, set.count) {
            (ACTION_TRIGGER, DATA_NONE, 0) => {
                self.line = -1;
                self.masked = false;
                self.unmask_by(-1);
            }
            (ACTION_TRIGGER, DATA_EVENTFD, 1) => self.line = unsafe { *set.eventfds },
            (ACTION_UNMASK, DATA_EVENTFD, 1) => self.unmask_by(unsafe { *set.eventfds }),
            (ACTION_UNMASK, DATA_NONE, 1) => self.masked = false,
            (ACTION_MASK, DATA_NONE, 1) => self.masked = true,
            _ => return INVALID,
        }
        self.fire();
        0
    }

    fn set_message(&mut self, set: &IrqSet) -> i32 {
        match (set.action, set.data, set.count) {
            (ACTION_TRIGGER, DATA_NONE, 0) => self.message = -1,
            (ACTION_TRIGGER, DATA_EVENTFD, 1) => self.message = unsafe { *set.eventfds },
            _ => return INVALID,
        }
        0
    }

    /// The guest wrote a register of BAR 0.
    fn write(&mut self, offset: u64) {
        if offset == RAISE {
            self.raised[MSIX as usize] += 1;
            signal(self.message);
        }
        if offset == ASSERT || offset == LET_GO {
            unsafe { irqmux_intx_registers_assert(&mut self.pin, (offset == ASSERT) as u32) };
        }
        self.fire();
    }

    fn write_configuration(&mut self, offset: usize, width: u32, value: u64) -> i32 {
        if offset == 4 {
            self.space[4] = value as u8 & 0x07;
        }
        let bar = offset.wrapping_sub(BAR_REGISTERS) / 4;
        if width == 4 && (bar == 0 || bar == BAR_MESSAGES as usize) {
            self.put(BAR_REGISTERS + 4 * bar, value as u32 & !(BAR_SIZE as u32 - 1));
        }
        let change = unsafe { irqmux_intx_registers_write(&mut self.pin, offset as u64, width, value) };
        self.fire();
        change.min(0)
    }
}

impl Board {
    pub fn new() -> Result<Arc<Board>, String> {
        const NONBLOCK_CLOEXEC: c_int = 0o2004000;
        let wake = unsafe { eventfd(0, NONBLOCK_CLOEXEC) };
        if wake < 0 {
            return Err("no eventfd".into());
        }
        let pin = IntxRegisters { size: size_of::<IntxRegisters>(), pin: 1, line: 5, ..Default::default() };
        let mut state = State {
            message: -1, line: -1, unmask: None, wake: unsafe { OwnedFd::from_raw_fd(wake) }, raised: [0; 5],
            masked: false, pin, space: [0; 256],
        };
        state.put(0x00, 0x4951_1234);
        state.put(0x04, 0x10 << 16); // there are capabilities
        state.put(0x34, CAPABILITY as u32);
        state.put(CAPABILITY, 0x11); // MSI-X, the last one, of one vector
        state.put(CAPABILITY + 4, BAR_MESSAGES);
        state.put(CAPABILITY + 8, BAR_MESSAGES | 0x800);
        let board = Arc::new(Board(Mutex::new(state)));
        let weak = Arc::downgrade(&board);
        // It ends with the process: who stops listening must know that nobody will end an interrupt any more.
        std::thread::spawn(move || {
            while let Some(board) = weak.upgrade() {
                board.listen();
            }
        });
        Ok(board)
    }

    /// KVM signals the unmasking eventfd when the guest has ended the line's interrupt; nobody else is woken by it.
    fn listen(&self) {
        const READABLE: i16 = 1;
        let (wake, unmask) = {
            let state = self.0.lock().unwrap();
            (state.wake.as_raw_fd(), state.unmask.as_ref().map_or(-1, |fd| fd.as_raw_fd()))
        };
        let mut waiting = [wake, unmask].map(|fd| PollFd { fd, events: READABLE, revents: 0 });
        unsafe { poll(waiting.as_mut_ptr(), 2, -1) };
        let mut state = self.0.lock().unwrap();
        if !take(wake) && state.unmask.as_ref().is_some_and(|fd| take(fd.as_raw_fd())) {
            state.masked = false;
            state.fire();
        }
    }

    pub fn write(&self, offset: u64) {
        self.0.lock().unwrap().write(offset);
    }

    /// Where the guest has put a BAR; 0 for one that is not there, or while memory space is off.
    pub fn bar(&self, bar: usize) -> u64 {
        let state = self.0.lock().unwrap();
        let at = BAR_REGISTERS + 4 * bar;
        if state.space[4] & 2 == 0 {
            return 0;
        }
        u32::from_le_bytes(state.space[at..at + 4].try_into().unwrap()) as u64
    }
}

// ---- What irqmux calls, with a board's address

fn state<'a>(context: *mut c_void) -> std::sync::MutexGuard<'a, State> {
    unsafe { &*(context as *const Board) }.0.lock().unwrap()
}

extern "C" fn info(_: *mut c_void, index: u32, info: *mut IrqInfo) -> i32 {
    let info = unsafe { &mut *info };
    info.count = (index == INTX || index == MSIX) as u32;
    info.flags = IRQ_EVENTFD | if index == INTX { IRQ_MASKABLE | IRQ_AUTOMASKED } else { 0 };
    if index <= REQ { 0 } else { INVALID }
}

extern "C" fn set_irqs(context: *mut c_void, set: *const IrqSet) -> i32 {
    let set = unsafe { &*set };
    match set.index {
        INTX => state(context).set_line(set),
        MSIX => state(context).set_message(set),
        _ => INVALID,
    }
}

extern "C" fn raised(context: *mut c_void, index: u32, _: u32, count: *mut u64) -> i32 {
    unsafe { *count = state(context).raised[index as usize] };
    1
}

extern "C" fn reset(context: *mut c_void) -> i32 {
    let mut state = state(context);
    state.space[4] = 0;
    state.space[BAR_REGISTERS..BAR_REGISTERS + 24].fill(0);
    state.pin.disabled = 0;
    state.pin.asserted = 0;
    0
}

extern "C" fn region_size(_: *mut c_void, region: u32, bytes: *mut u64) -> i32 {
    let size = if region == CONFIGURATION { 256 } else { BAR_SIZE };
    unsafe { *bytes = if [0, BAR_MESSAGES, CONFIGURATION].contains(&region) { size } else { 0 } };
    0
}

extern "C" fn read_region(context: *mut c_void, region: u32, offset: u64, width: u32, value: *mut u64) -> i32 {
    let (state, mut bytes) = (state(context), [0; 8]);
    if region == CONFIGURATION {
        let Some(found) = state.space.get(offset as usize..offset as usize + width as usize) else { return INVALID };
        bytes[..width as usize].copy_from_slice(found);
    }
    // The registers of the BARs are for writing.
    unsafe { *value = u64::from_le_bytes(bytes) };
    if region != CONFIGURATION { 0 } else { unsafe { irqmux_intx_registers_read(&state.pin, offset, width, value) } }
}

extern "C" fn write_region(context: *mut c_void, region: u32, offset: u64, width: u32, value: u64) -> i32 {
    let mut state = state(context);
    match region {
        0 => state.write(offset),
        CONFIGURATION if offset + width as u64 <= 256 => {
            return state.write_configuration(offset as usize, width, value)
        }
        CONFIGURATION => return INVALID,
        _ => {}
    }
    0
}

pub fn ops() -> DeviceOps {
    DeviceOps {
        size: size_of::<DeviceOps>(), reserved: 0, info, set_irqs, raised, last_signal: None, reset, read_region,
        write_region, released: None, region_size,
    }
}
