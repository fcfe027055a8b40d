import EventRing
import KVM
import TestSupport
import Testing

@Suite(
    "nothing is allocated once a machine is set up",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .enabled(if: allocationsAreCounted, "sanitizer: it stands in for malloc"), .serialized)
struct AllocationTests {
    @Test("routes and GSIs come and go, and are committed, without an allocation")
    func routing() throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.full)
        var routing = GSIRouting(live: .irqChipDefaults())
        var allocator = GSIAllocator()
        func once() throws(KVMError) {
            let gsi = try allocator.allocate()
            try routing.add(message(gsi), for: gsi)
            try routing.commit(to: machine)
            try routing.set(message(7), for: gsi)
            routing.revert()
            routing.remove(gsi)
            try routing.commit(to: machine)
            try allocator.free(gsi)
        }
        try once()
        let allocated = try allocations { () throws(KVMError) in try once() }
        #expect(allocated == 0)
    }

    @Test("irqfds and doorbells come and go without an allocation")
    func assignments() throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.full)
        let eventFD = try EventFD()
        func once() throws(KVMError) {
            try machine.assignIRQFD(eventFD, gsi: 24).deassign()
            try machine.assignIOEventFD(eventFD, at: DoorbellAddress(.port(0x700), width: .two, match: 1)).deassign()
        }
        try once()
        let allocated = try allocations { () throws(KVMError) in try once() }
        #expect(allocated == 0)
    }
}
