internal import CKernel
internal import KVM

extension MicroGuest {
    static func gsi(forMessage message: Int) -> UInt32 { GSIAllocator.first + UInt32(message) }

    /// To local APIC 0, physical destination, fixed delivery, edge: everything but the vector is zero.
    static func route(forMessage message: Int) -> GSIRoute {
        .message(address: 0xfee0_0000, data: UInt32(ClosedLoop.firstMessageVector + message))
    }

    static func orKVMError<Result: ~Copyable>(
        _ body: () throws(KVMError) -> Result
    ) throws(MicroGuestError) -> Result {
        do { return try body() } catch { throw .kvm(error) }
    }

    static func makeMachine(
        _ device: borrowing KVMDevice, _ irqChip: IRQChip
    ) throws(MicroGuestError) -> VirtualMachine {
        do {
            let machine = try device.createVirtualMachine()
            // Intel's processors need pages for real mode; the guest does not use that address. Others ignore it.
            _ = irqmux_ioctl_value(machine.number, irqmux_KVM_SET_TSS_ADDR, 0xfffb_d000)
            try machine.createIRQChip(irqChip)
            return machine
        } catch { throw .kvm(error) }
    }

    static func addMemory(
        to machine: borrowing VirtualMachine, _ image: GuestImage
    ) throws(MicroGuestError) -> Mapping {
        let memory = try Mapping(size: GuestImage.size)
        memory.fill(image.bytes)
        var region = kvm_userspace_memory_region()
        region.memory_size = UInt64(GuestImage.size)
        // SAFETY: KVM gets the address as a number; the guest object keeps the mapping longer than the vCPU runs.
        region.userspace_addr = unsafe UInt64(UInt(bitPattern: memory.address))
        // SAFETY: the request is a whole struct kvm_userspace_memory_region that outlives the call.
        let result = unsafe irqmux_ioctl(machine.number, irqmux_KVM_SET_USER_MEMORY_REGION, &region)
        guard result == 0 else { throw .system(operation: "KVM_SET_USER_MEMORY_REGION", errno: -result) }
        return memory
    }

    /// Adds the messages to what the irqchip has routed by itself.
    static func commitRoutes(
        _ messages: Int, _ irqChip: IRQChip, to machine: borrowing VirtualMachine
    ) throws(MicroGuestError) -> GSIRouting {
        var routing = GSIRouting(live: irqChip == .full ? .irqChipDefaults() : GSIRoutes())
        do {
            for message in 0..<messages {
                try routing.add(route(forMessage: message), for: gsi(forMessage: message))
            }
            try routing.commit(to: machine)
        } catch { throw .kvm(error) }
        return routing
    }
}
