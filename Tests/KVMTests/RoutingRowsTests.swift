import CKernel
import KVM
import TestSupport
import Testing

// What ``GSIRoutes`` makes impossible to ask for, asked of the kernel directly: the rows of its own rules that the
// table takes for granted.
@Suite(
    "KVM_SET_GSI_ROUTING, row by row", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct RoutingRowsTests {
    /// The twelve words of a struct kvm_irq_routing_entry: GSI, type, flags, padding, and the type's own eight.
    private typealias Entry = [UInt32]

    private static func msi(_ gsi: UInt32, flags: UInt32 = 0, type: Int32 = KVM_IRQ_ROUTING_MSI) -> Entry {
        [gsi, UInt32(type), flags, 0, 0xfee0_0000, 0, 0x41, 0, 0, 0, 0, 0]
    }

    private static func pin(_ gsi: UInt32, _ chip: Int, _ pin: UInt32) -> Entry {
        [gsi, UInt32(KVM_IRQ_ROUTING_IRQCHIP), 0, 0, UInt32(chip), pin, 0, 0, 0, 0, 0, 0]
    }

    private func install(_ machine: borrowing VirtualMachine, _ entries: [Entry], flags: UInt32 = 0) -> Int32 {
        var request = [UInt32(entries.count), flags] + entries.joined()
        // SAFETY: header and entries are complete, and outlive the call.
        return unsafe irqmux_ioctl(machine.number, irqmux_KVM_SET_GSI_ROUTING, &request)
    }

    @Test("the rows, on a machine with the full irqchip")
    func full() throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.full)
        typealias Rows = RoutingRowsTests
        let primary = Int(irqmux_PIC_MASTER)
        let secondary = Int(irqmux_PIC_SLAVE)
        let ioAPIC = Int(irqmux_IOAPIC)
        #expect(install(machine, []) == 0, "no routes at all")
        #expect(install(machine, (0..<4096).map { Rows.msi($0) }) == 0, "4096 routes")
        #expect(install(machine, (0..<4097).map { Rows.msi($0) }) == -EINVAL, "4097 routes")
        #expect(install(machine, [Rows.msi(4096)]) == -EINVAL, "GSI 4096")
        #expect(install(machine, [Rows.msi(24)], flags: 1) == -EINVAL, "flags of the table")
        #expect(install(machine, [Rows.msi(24), Rows.msi(24)]) == -EINVAL, "two messages on one GSI")
        #expect(install(machine, [Rows.msi(5), Rows.pin(5, ioAPIC, 5)]) == -EINVAL, "a message and a pin")
        #expect(install(machine, [Rows.pin(5, ioAPIC, 5), Rows.pin(5, ioAPIC, 6)]) == -EINVAL, "two pins of one chip")
        #expect(
            install(machine, [Rows.pin(5, primary, 5), Rows.pin(5, secondary, 5), Rows.pin(5, ioAPIC, 5)]) == 0,
            "one pin of each chip")
        #expect(install(machine, [Rows.pin(5, primary, 8)]) == -EINVAL, "pin 8 of a PIC")
        #expect(install(machine, [Rows.pin(5, secondary, 8)]) == -EINVAL, "pin 8 of a PIC")
        #expect(install(machine, [Rows.pin(5, ioAPIC, 24)]) == -EINVAL, "pin 24 of the IOAPIC")
        #expect(install(machine, [Rows.pin(5, 3, 0)]) == -EINVAL, "a fourth chip")
        #expect(install(machine, [Rows.msi(24, type: 99)]) == -EINVAL, "an unknown type")
        #expect(install(machine, [Rows.msi(24, flags: 2)]) == -EINVAL, "an unknown flag of an entry")
        #expect(install(machine, [Rows.msi(24, flags: UInt32(KVM_MSI_VALID_DEVID))]) == 0, "a device id")
    }

    @Test("the rows, with a split irqchip and without one")
    func splitAndNone() throws {
        let split = try VirtualMachine()
        try split.createIRQChip(.split(pins: 24))
        #expect(install(split, [RoutingRowsTests.pin(5, Int(irqmux_IOAPIC), 5)]) == -EINVAL)
        #expect(install(split, [RoutingRowsTests.msi(24)]) == 0)
        let none = try VirtualMachine()
        #expect(install(none, [RoutingRowsTests.msi(24)]) == -EINVAL)
    }
}
