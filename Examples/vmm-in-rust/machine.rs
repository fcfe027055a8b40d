// A virtual machine of one processor and 64 KiB, by /dev/kvm and libc's functions, declared by hand.
use std::ffi::{c_char, c_int, c_ulong, c_void};
use std::io::Error;

extern "C" {
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn mmap(address: *mut c_void, length: usize, access: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    static guest_begin: [u8; 0];
    static guest_end: [u8; 0];
    static guest_vectors: [u16; 0];
}

// Numbers of <linux/kvm.h> for x86-64, and of guest.h.
const KVM_CREATE_VM: c_ulong = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: c_ulong = 0xae04;
const KVM_CREATE_VCPU: c_ulong = 0xae41;
const KVM_SET_TSS_ADDR: c_ulong = 0xae47;
const KVM_CREATE_IRQCHIP: c_ulong = 0xae60;
const KVM_RUN: c_ulong = 0xae80;
const KVM_SET_USER_MEMORY_REGION: c_ulong = 0x4020_ae46;
const KVM_GET_SUPPORTED_CPUID: c_ulong = 0xc008_ae05;
const KVM_SET_CPUID2: c_ulong = 0x4008_ae90;
const KVM_SET_REGS: c_ulong = 0x4090_ae82;
const KVM_GET_SREGS: c_ulong = 0x8138_ae83;
const KVM_SET_SREGS: c_ulong = 0x4138_ae84;
const KVM_GET_LAPIC: c_ulong = 0x8400_ae8e;
const KVM_SET_LAPIC: c_ulong = 0x4400_ae8f;
const EXIT_IO: u32 = 2;
const EXIT_MMIO: u32 = 6;
const ORIGIN: usize = 0x1000;
pub const ROUNDS: usize = 0x800;
pub const MESSAGES_TAKEN: usize = 0x808;
pub const LINE_TAKEN: usize = 0x810;
pub const PAIR_TAKEN: usize = 0x818;
pub const PENDING_SEEN: usize = 0x81c;

pub struct Machine {
    pub vm: i32,
    vcpu: i32,
    memory: *mut u8,
    run: *mut u8,
    pub exits: u64,
}

fn failed(what: &str) -> String {
    format!("{what}: {}", Error::last_os_error())
}

/// What the guest reached for. KVM carries the instruction out when the machine runs next, so a read's answer has to be
/// there before that.
pub struct Access {
    pub is_port: bool,
    pub is_write: bool,
    /// Guest-physical, or a port.
    pub address: u64,
    pub width: u32,
    /// Of a write.
    pub value: u64,
    data: *mut u8,
}

impl Access {
    pub fn answer(&self, value: u64) {
        // The bytes are the machine's, which waits.
        unsafe { std::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), self.data, self.width as usize) }
    }
}

impl Machine {
    pub fn open_kvm() -> Result<i32, String> {
        const READ_WRITE_CLOEXEC: c_int = 0o2000002;
        let kvm = unsafe { open(c"/dev/kvm".as_ptr(), READ_WRITE_CLOEXEC) };
        if kvm < 0 { Err(failed("opening /dev/kvm")) } else { Ok(kvm) }
    }

    pub fn new(kvm: i32, rounds: u32) -> Result<Machine, String> {
        const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;
        const MAP_SHARED: c_int = 0x01;
        // Every structure below is as long as the kernel's, and outlives its call.
        unsafe {
            let vm = ioctl(kvm, KVM_CREATE_VM, 0);
            if vm < 0 || ioctl(vm, KVM_SET_TSS_ADDR, 0xfffb_d000u64) < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 {
                return Err(failed("making a virtual machine"));
            }
            let memory = mmap(std::ptr::null_mut(), 0x10000, 3, MAP_PRIVATE_ANONYMOUS, -1, 0) as *mut u8;
            // slot and flags, guest address, size, our address
            let region: [u64; 4] = [0, 0, 0x10000, memory as u64];
            if memory as isize == -1 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, region.as_ptr()) < 0 {
                return Err(failed("giving it memory"));
            }
            let size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
            let vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
            if size < 0 || vcpu < 0 {
                return Err(failed("making a virtual processor"));
            }
            let run = mmap(std::ptr::null_mut(), size as usize, 3, MAP_SHARED, vcpu, 0) as *mut u8;
            if run as isize == -1 {
                return Err(failed("mapping the virtual processor"));
            }
            let machine = Machine { vm, vcpu, memory, run, exits: 0 };
            machine.load(rounds);
            machine.set_up(kvm)?;
            Ok(machine)
        }
    }

    unsafe fn load(&self, rounds: u32) {
        let length = guest_end.as_ptr().offset_from(guest_begin.as_ptr()) as usize;
        std::ptr::copy_nonoverlapping(guest_begin.as_ptr(), self.memory.add(ORIGIN), length);
        let mut entry = guest_vectors.as_ptr();
        while *entry != 0 {
            self.put(*entry as usize * 4, *entry.add(1) as u32);
            entry = entry.add(2);
        }
        self.put(ROUNDS, rounds);
    }

    unsafe fn put(&self, address: usize, value: u32) {
        (self.memory.add(address) as *mut u32).write_unaligned(value);
    }

    pub fn count(&self, address: usize) -> u32 {
        unsafe { (self.memory.add(address) as *const u32).read_unaligned() }
    }

    /// Real mode at the guest's first instruction; local APIC in x2APIC mode, open for the PIC's interrupts.
    unsafe fn set_up(&self, kvm: i32) -> Result<(), String> {
        let mut cpuid = vec![0u64; 1 + 256 * 5];
        cpuid[0] = 256;
        if ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid.as_mut_ptr()) < 0
            || ioctl(self.vcpu, KVM_SET_CPUID2, cpuid.as_ptr()) < 0
        {
            return Err(failed("KVM_SET_CPUID2"));
        }
        // struct kvm_sregs: CS comes first, base then selector; apic_base stands at 8 segments of 24 bytes, 2 tables of
        // 16, and 6 registers.
        let mut system = [0u64; 39];
        if ioctl(self.vcpu, KVM_GET_SREGS, system.as_mut_ptr()) < 0 {
            return Err(failed("KVM_GET_SREGS"));
        }
        system[0] = 0;
        system[1] &= !(0xffffu64 << 32);
        system[(8 * 24 + 2 * 16 + 6 * 8) / 8] |= 3 << 10;
        // struct kvm_regs: rsp is the seventh, rip and rflags are the last two of eighteen.
        let mut general = [0u64; 18];
        general[6] = 0xf000;
        general[16] = ORIGIN as u64;
        general[17] = 2;
        let mut apic = [0u32; 256];
        if ioctl(self.vcpu, KVM_SET_SREGS, system.as_ptr()) < 0
            || ioctl(self.vcpu, KVM_SET_REGS, general.as_ptr()) < 0
            || ioctl(self.vcpu, KVM_GET_LAPIC, apic.as_mut_ptr()) < 0
        {
            return Err(failed("KVM_SET_SREGS"));
        }
        apic[0xf0 / 4] = 0x1ff;
        apic[0x350 / 4] = 0x700;
        if ioctl(self.vcpu, KVM_SET_LAPIC, apic.as_ptr()) < 0 { Err(failed("KVM_SET_LAPIC")) } else { Ok(()) }
    }

    /// Runs until the guest reaches for something that KVM leaves to the VMM; `None` when it was interrupted.
    pub fn run(&mut self) -> Result<Option<Access>, String> {
        const INTERRUPTED: i32 = 4;
        unsafe {
            if ioctl(self.vcpu, KVM_RUN, 0) < 0 {
                let error = Error::last_os_error();
                return if error.raw_os_error() == Some(INTERRUPTED) { Ok(None) } else { Err(failed("KVM_RUN")) };
            }
            self.exits += 1;
            // struct kvm_run: the reason at 8. For a port, from 32 on: direction, size, port, count, where the data is;
            // for memory: address, eight bytes of data, length, direction.
            let long = |at: usize| (self.run.add(at) as *const u32).read();
            let mut access = match long(8) {
                EXIT_IO => Access {
                    is_port: true, is_write: *self.run.add(32) == 1,
                    address: (self.run.add(34) as *const u16).read() as u64, width: *self.run.add(33) as u32, value: 0,
                    data: self.run.add((self.run.add(40) as *const u64).read() as usize),
                },
                EXIT_MMIO => Access {
                    is_port: false, is_write: *self.run.add(52) != 0, address: (self.run.add(32) as *const u64).read(),
                    width: long(48), value: 0, data: self.run.add(40),
                },
                reason => return Err(format!("the guest ended by exit {reason}")),
            };
            if access.is_write {
                let mut bytes = [0; 8];
                std::ptr::copy_nonoverlapping(access.data, bytes.as_mut_ptr(), access.width as usize);
                access.value = u64::from_le_bytes(bytes);
            }
            Ok(Some(access))
        }
    }
}
