// A PCI bus with one function on it; as Examples/vmm-in-c/bus.c.
use crate::device::{Board, BAR_SIZE};
use crate::irqmux::*;
use crate::machine::Access;
use std::sync::Arc;

const ADDRESS: u64 = 0xcf8;
const DATA: u64 = 0xcfc;
/// Device 3 of bus 0, as the address port has it.
const PLACE: u32 = 0x8000_0000 | 3 << 11;
const ONES: u64 = u64::MAX;

pub struct Bus {
    pub mux: Mux,
    pub function: Function,
    pub board: Arc<Board>,
    /// BAR, offset and length of the MSI-X table and of the pending bits.
    pub overlays: [[u32; 3]; 2],
    /// What the guest wrote to the address port last.
    pub address: u32,
}

impl Bus {
    /// Answers an access; an error where nobody is.
    pub fn answer(&mut self, access: &Access) -> Result<(), String> {
        match access.address {
            DATA..=0xcff if access.is_port => self.data(access),
            ADDRESS..=0xcfb if access.is_port => {
                if access.is_write { self.address = access.value as u32 } else { access.answer(self.address as u64) }
                Ok(())
            }
            _ if access.is_port => Err(format!("nobody answers for port {:#x}", access.address)),
            _ => self.memory(access),
        }
    }

    fn data(&self, access: &Access) -> Result<(), String> {
        let mut value = ONES;
        // Nobody else is there, and that reads as ones.
        if self.address & 0xffff_ff00 == PLACE {
            let offset = (self.address & 0xfc) as u64 + (access.address & 3);
            check(unsafe {
                if access.is_write {
                    irqmux_function_config_write(self.mux, self.function, offset, access.width, access.value)
                } else {
                    irqmux_function_config_read(self.mux, self.function, offset, access.width, &mut value)
                }
            })?;
        }
        if !access.is_write {
            access.answer(value);
        }
        Ok(())
    }

    /// Whether an access is one of irqmux's. Any other goes to the device at once, on the virtual processor's thread.
    fn is_of_interrupts(&self, bar: u32, offset: u64, width: u32) -> bool {
        self.overlays.iter().any(|&[there, start, length]| {
            there == bar && offset < (start + length) as u64 && offset + width as u64 > start as u64
        })
    }

    fn memory(&self, access: &Access) -> Result<(), String> {
        for bar in 0..6 {
            let base = self.board.bar(bar as usize);
            let offset = access.address.wrapping_sub(base);
            if base == 0 || offset >= BAR_SIZE {
                continue;
            }
            let mut value = 0;
            if self.is_of_interrupts(bar, offset, access.width) {
                check(unsafe {
                    let (mux, function) = (self.mux, self.function);
                    if access.is_write {
                        irqmux_function_region_write(mux, function, bar, offset, access.width, access.value)
                    } else {
                        irqmux_function_region_read(mux, function, bar, offset, access.width, &mut value)
                    }
                })?;
            } else if access.is_write && bar == 0 {
                self.board.write(offset);
            }
            if !access.is_write {
                access.answer(value);
            }
            return Ok(());
        }
        Err(format!("nobody answers at {:#x}", access.address))
    }
}
