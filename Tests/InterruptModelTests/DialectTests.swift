import CKernel
import InterruptModel
import Testing

@Suite("Dialects: the same request, another implementation")
struct DialectTests {
    static let old = Dialect.linux(6, 1)
    static let user = Dialect.libvfioUser
    static let first = Vector(.msix, 0)
    static var conventional: DeviceProfile {
        var profile = DeviceProfile()
        profile.isPCIe = false
        return profile
    }

    static let oldKernel: [Row] = [
        Row(
            name: "6.1 refuses a range beyond the allocation as a whole", before: [.trigger(.msix, [100])],
            request: .trigger(.msix, [110, 111]), result: -EINVAL, reason: .beyondAllocation, dialect: old,
            after: [first: 100], active: .msix),
        Row(
            name: "6.1 refuses -1 beyond the allocation", before: [.trigger(.msi, [100])],
            request: .trigger(.msi, start: 1, [-1]), result: -EINVAL, reason: .beyondAllocation, dialect: old),
        Row(
            name: "6.1 refuses count 0 that starts beyond the allocation", before: [.trigger(.msix, [100])],
            request: .trigger(.msix, start: 3, []), result: -EINVAL, reason: .beyondAllocation, dialect: old),
        Row(
            name: "6.1 refuses loopback beyond the allocation", before: [.trigger(.msix, [100, 101])],
            request: .loopBack(.msix, count: 3), result: -EINVAL, reason: .beyondAllocation, dialect: old),
        Row(
            name: "6.1 loops back within it", before: [.trigger(.msix, [100, 101])],
            request: .loopBack(.msix, count: 2), result: 0, reason: .looped, signals: [100, 101], dialect: old),
        Row(
            name: "6.1 passes over numbers below -1 for ERR", before: [.trigger(.err, [100])],
            request: .trigger(.err, [-2]), result: 0, reason: .ignored, dialect: old,
            after: [Vector(.err, 0): 100]),
        Row(
            name: "6.12 refuses them", before: [.trigger(.req, [100])], request: .trigger(.req, [-2]),
            result: -EINVAL, reason: .belowMinusOne, dialect: .linux(6, 12), after: [Vector(.req, 0): 100]),
        Row(
            name: "6.12 has no ERR without PCI Express", request: .trigger(.err, [100]), result: -EINVAL,
            reason: .indexAbsent, profile: conventional, dialect: .linux(6, 12)),
        Row(
            name: "7.3 has", request: .trigger(.err, [100]), result: 0, reason: .assigned, profile: conventional),
    ]

    static let vfioUser: [Row] = [
        Row(
            name: "libvfio-user enables nothing", request: .trigger(.msix, [100]), result: 0, reason: .assigned,
            dialect: user, after: [first: 100], active: .some(nil)),
        Row(
            name: "libvfio-user: INTx 0 and MSI-X 0 are one entry", before: [.trigger(.intx, [100])],
            request: .trigger(.msix, [101]), result: 0, reason: .assigned, dialect: user,
            after: [Vector(.intx, 0): 101, Vector(.msi, 0): 101]),
        Row(
            name: "libvfio-user: disabling INTx takes MSI-X 0 along", before: [.trigger(.msix, [100, 101])],
            request: .disable(.intx), result: 0, reason: .removed, dialect: user,
            after: [first: nil, Vector(.msix, 1): 101]),
        Row(
            name: "libvfio-user: a second disable is fine", request: .disable(.msix), result: 0, reason: .ignored,
            dialect: user),
        Row(
            name: "libvfio-user: de-assigning with start at or above count does nothing",
            before: [.trigger(.msix, [100, 101])], request: .trigger(.msix, start: 1, [-1]), result: 0,
            reason: .ignored, dialect: user, after: [Vector(.msix, 1): 101]),
        Row(
            name: "libvfio-user: de-assigning from 0 works", before: [.trigger(.msix, [100, 101])],
            request: .trigger(.msix, [-1, -1]), result: 0, reason: .removed, dialect: user,
            after: [first: nil, Vector(.msix, 1): nil]),
        Row(
            name: "libvfio-user: holes in one message are refused", request: .trigger(.msix, [100, -1]),
            result: -EINVAL, reason: .mixedEventFDs, dialect: user),
        Row(
            name: "libvfio-user: only the byte 1 is true", before: [.trigger(.msix, [100, 101, 102])],
            request: IRQRequest(.msix, .trigger, .bool([1, 2, 0])), result: 0, reason: .looped, signals: [100],
            dialect: user),
        Row(
            name: "libvfio-user: masking MSI-X is accepted and changes nothing", before: [.trigger(.msix, [100])],
            request: IRQRequest(.msix, .mask, .none(count: 1)), result: 0, reason: .ignored, dialect: user,
            after: [first: 100]),
        Row(
            name: "libvfio-user: masking ERR is EINVAL", request: IRQRequest(.err, .mask, .none(count: 1)),
            result: -EINVAL, reason: .eventNotMaskable, dialect: user),
        Row(
            name: "libvfio-user: ERR loopback with none set is fine", request: .loopBack(.err, count: 1), result: 0,
            reason: .loopedNowhere, dialect: user),
        Row(
            name: "libvfio-user: count 0 goes with disabling only", request: IRQRequest(.msix, .trigger, .bool([])),
            result: -EINVAL, reason: .emptyRange, dialect: user),
        Row(
            name: "libvfio-user: a file that is no eventfd is taken", request: .trigger(.req, [5000]), result: 0,
            reason: .assigned, dialect: user, after: [Vector(.req, 0): 5000]),
        Row(
            name: "libvfio-user: a closed descriptor never leaves the sender", request: .trigger(.msix, [100, 9000]),
            result: -EBADF, reason: .notOpen, dialect: user, after: [first: nil]),
    ]

    static let sample: [Row] = [
        Row(
            name: "mtty: MSI-X is ENOTTY", request: IRQRequest(.msix, .trigger, .bool([])), result: -ENOTTY,
            reason: .indexAbsent, dialect: .mtty),
        Row(
            name: "mtty: ERR and REQ are ENOTTY", request: .trigger(.req, [100]), result: -ENOTTY,
            reason: .indexAbsent, dialect: .mtty),
        Row(
            name: "mtty: another eventfd replaces the first", before: [.trigger(.msi, [100])],
            request: .trigger(.msi, [101]), result: 0, reason: .enabled, dialect: .mtty,
            after: [Vector(.msi, 0): 101], active: .msi),
        Row(
            name: "mtty: a bad descriptor leaves nothing enabled", before: [.trigger(.intx, [100])],
            request: .trigger(.intx, [9000]), result: -EBADF, reason: .notOpen, dialect: .mtty,
            after: [Vector(.intx, 0): nil], active: .some(nil)),
        Row(
            name: "mtty: -1 disables", before: [.trigger(.msi, [100])], request: .trigger(.msi, [-1]), result: 0,
            reason: .removed, dialect: .mtty, active: .some(nil)),
        Row(
            name: "mtty: MSI while INTx is enabled is EINVAL", before: [.trigger(.intx, [100])],
            request: .trigger(.msi, [101]), result: -EINVAL, reason: .otherTypeActive, dialect: .mtty,
            active: .intx),
        Row(
            name: "mtty: loopback of INTx masks it, so the second is lost",
            before: [.trigger(.intx, [100]), .loopBack(.intx, count: 1)], request: .loopBack(.intx, count: 1),
            result: 0, reason: .loopedNowhere, dialect: .mtty),
        Row(
            name: "mtty: after an unmask it comes again",
            before: [.trigger(.intx, [100]), .loopBack(.intx, count: 1), IRQRequest(.intx, .unmask, .none(count: 1))],
            request: .loopBack(.intx, count: 1), result: 0, reason: .looped, signals: [100], dialect: .mtty),
        Row(
            name: "mtty: no unmasking by eventfd", before: [.trigger(.intx, [100])],
            request: IRQRequest(.intx, .unmask, .eventfd([101])), result: -ENOTTY, reason: .maskByEventFD,
            dialect: .mtty),
        Row(
            name: "mtty: a range is judged by the number of indexes, and then by its one vector",
            before: [.trigger(.msi, [100])], request: .loopBack(.msi, start: 1, count: 2), result: -EINVAL,
            reason: .intxTakesOneVector, dialect: .mtty),
    ]

    @Test("the sample mediated device", arguments: sample) func sampleDevice(_ row: Row) { row.check() }

    @Test("mtty: what the device raises masks INTx, and several actions are none")
    func sampleRaises() {
        var device = DeviceInterrupts.after([.trigger(.intx, [100])], DeviceProfile(), .mtty)
        let signal = RaiseResult.signal(AssignedEventFD(number: 100, identity: 100))
        #expect(device.raise(Vector(.intx, 0)) == signal)
        #expect(device.isINTxMasked && device.raise(Vector(.intx, 0)) == .dropped(.unassigned))
        let several = RawIRQRequest(header: IRQSetHeader(argsz: 20, flags: 0x31, index: 0, start: 0, count: 1))
        #expect(device.apply(several, lookUp: Descriptors.lookUp).returnValue == 0)
        #expect(device.info(.msi)?.noResize == true && device.info(.msix) == nil && device.info(.req) == nil)
    }

    @Test("kernel versions", arguments: oldKernel) func kernels(_ row: Row) { row.check() }
    @Test("libvfio-user", arguments: vfioUser) func libvfioUser(_ row: Row) { row.check() }

    @Test("libvfio-user passes unknown flag bits, and refuses a BOOL payload of another length")
    func rawRequests() {
        var device = DeviceInterrupts(DeviceProfile(), Self.user)
        let flags = RawIRQRequest(header: IRQSetHeader(argsz: 20, flags: 0x1021, index: 2, start: 0, count: 0))
        #expect(device.apply(flags, lookUp: Descriptors.lookUp).returnValue == 0)
        let header = IRQSetHeader(argsz: 22, flags: 0x22, index: 2, start: 0, count: 1)
        let long = RawIRQRequest(header: header, payload: [1, 1])
        #expect(device.apply(long, lookUp: Descriptors.lookUp).returnValue == -EINVAL)
    }

    @Test("libvfio-user takes EVENTFD without descriptors for a removal")
    func noDescriptors() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100, 101])], DeviceProfile(), Self.user)
        let header = IRQSetHeader(argsz: 20, flags: 0x24, index: 2, start: 0, count: 2)
        let outcome = device.apply(RawIRQRequest(header: header), lookUp: Descriptors.lookUp)
        #expect(outcome.returnValue == 0 && outcome.released.count == 2)
    }

    @Test("libvfio-user tells EVENTFD of every index and nothing else")
    func info() {
        let device = DeviceInterrupts(DeviceProfile(), Self.user)
        #expect(device.info(.intx) == IRQInfo(count: 1, eventfd: true))
        #expect(device.info(.msix) == IRQInfo(count: 64, eventfd: true))
    }

    @Test("libvfio-user never masks INTx by itself")
    func noAutomask() {
        var device = DeviceInterrupts.after([.trigger(.intx, [100])], DeviceProfile(), Self.user)
        let signal = RaiseResult.signal(AssignedEventFD(number: 100, identity: 100))
        #expect(device.assertLine() == signal && device.assertLine() == signal)
        #expect(!device.isINTxMasked)
    }

    @Test("a dialect is its switches")
    func versions() {
        #expect(Dialect.linux(6, 4) == Dialect.linux(6, 1))
        #expect(Dialect.linux(6, 5) == Dialect.linux(6, 12))
        #expect(Dialect.linux(7, 3) == Dialect.linux)
        #expect(Dialect.linux(6, 4) != Dialect.linux(6, 5))
        #expect(DeviceInterrupts(Self.conventional, .linux(6, 12)).info(.err) == nil)
        #expect(DeviceInterrupts(DeviceProfile(), Self.old).info(.msix)?.noResize == true)
    }
}
