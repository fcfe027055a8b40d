import CKernel
import InterruptModel
import Testing

@Suite("Table B.1: a request is checked in the kernel's order")
struct ValidationTests {
    struct Check: Sendable, CustomTestStringConvertible {
        var name: String
        var argsz: UInt32 = 24
        var flags: UInt32 = 0x24
        var index: UInt32 = 2
        var start: UInt32 = 0
        var count: UInt32 = 1
        var payload: [UInt8] = [100, 0, 0, 0]
        var errno: Int32
        var reason: Reason
        var profile = DeviceProfile()
        var testDescription: String { name }
    }

    static let checks: [Check] = [
        Check(name: "argsz below 20", argsz: 19, errno: EINVAL, reason: .argszTooSmall),
        Check(name: "index 5", index: 5, errno: EINVAL, reason: .unknownIndex),
        Check(name: "index 2^32 - 1", index: .max, errno: EINVAL, reason: .unknownIndex),
        Check(name: "start + count wraps", start: .max - 1, count: 2, errno: EINVAL, reason: .rangeWraps),
        Check(name: "count is 2^32 - 1 - start", start: 1, count: .max - 1, errno: EINVAL, reason: .rangeWraps),
        Check(name: "an unknown flag", flags: 0x64, errno: EINVAL, reason: .unknownFlags),
        Check(name: "start at the number of vectors", start: 64, errno: EINVAL, reason: .rangeOutside),
        Check(name: "start outside with count 0", start: 64, count: 0, errno: EINVAL, reason: .rangeOutside),
        Check(name: "the range ends outside", start: 63, count: 2, errno: EINVAL, reason: .rangeOutside),
        Check(
            name: "the device lacks the index", index: 0, errno: EINVAL, reason: .indexAbsent,
            profile: DeviceProfile(hasINTx: false)),
        Check(name: "no data bit", flags: 0x20, errno: EINVAL, reason: .dataNotOne),
        Check(name: "two data bits", flags: 0x26, errno: EINVAL, reason: .dataNotOne),
        Check(name: "argsz too small for the eventfd", argsz: 23, errno: EINVAL, reason: .payloadTooShort),
        Check(name: "argsz too small for the byte", argsz: 20, flags: 0x22, errno: EINVAL, reason: .payloadTooShort),
        Check(name: "the payload cannot be read", payload: [1, 2, 3], errno: EFAULT, reason: .payloadUnreadable),
        Check(name: "no action", flags: 0x04, errno: ENOTTY, reason: .actionNotOne),
        Check(name: "two actions", flags: 0x34, errno: ENOTTY, reason: .actionNotOne),
        Check(name: "MASK of MSI-X", flags: 0x0c, errno: ENOTTY, reason: .msixNotMaskable),
        Check(name: "UNMASK of MSI", flags: 0x14, index: 1, errno: ENOTTY, reason: .msiNotMaskable),
        Check(name: "MASK of ERR", flags: 0x0c, index: 3, errno: ENOTTY, reason: .eventNotMaskable),
        Check(name: "UNMASK of REQ", flags: 0x14, index: 4, errno: ENOTTY, reason: .eventNotMaskable),
        // Two faults at once: the earlier check answers.
        Check(name: "argsz before index", argsz: 0, index: 9, errno: EINVAL, reason: .argszTooSmall),
        Check(name: "index before flags", flags: 0xffff, index: 9, errno: EINVAL, reason: .unknownIndex),
        Check(name: "flags before range", flags: 0x164, start: 64, errno: EINVAL, reason: .unknownFlags),
        Check(name: "range before data", flags: 0x27, start: 64, errno: EINVAL, reason: .rangeOutside),
        Check(name: "data before size", argsz: 20, flags: 0x27, errno: EINVAL, reason: .dataNotOne),
        Check(name: "range before action", flags: 0x0c, start: 64, errno: EINVAL, reason: .rangeOutside),
        Check(name: "size before action", argsz: 20, flags: 0x0c, errno: EINVAL, reason: .payloadTooShort),
        Check(name: "unreadable before action", flags: 0x0c, payload: [], errno: EFAULT, reason: .payloadUnreadable),
    ]

    @Test("a bad request gets its errno and changes nothing", arguments: checks)
    func refused(_ check: Check) {
        var device = DeviceInterrupts(check.profile)
        let before = device
        let header = IRQSetHeader(
            argsz: check.argsz, flags: check.flags, index: check.index, start: check.start, count: check.count)
        let outcome = device.apply(RawIRQRequest(header: header, payload: check.payload), lookUp: Descriptors.lookUp)
        #expect(outcome.returnValue == -check.errno)
        #expect(outcome.reason == check.reason)
        #expect(outcome.changes.isEmpty)
        #expect(device == before)
    }

    @Test("argsz and payload may be larger than needed")
    func surplus() {
        var device = DeviceInterrupts(DeviceProfile())
        let header = IRQSetHeader(argsz: 400, flags: 0x24, index: 2, start: 0, count: 1)
        let raw = RawIRQRequest(header: header, payload: [100, 0, 0, 0] + Array(repeating: 7, count: 50))
        #expect(device.apply(raw, lookUp: Descriptors.lookUp).returnValue == 0)
        #expect(device.number(Vector(.msix, 0)) == 100)
    }

    @Test("GET_IRQ_INFO's flags are the kernel's")
    func info() {
        let device = DeviceInterrupts(DeviceProfile())
        #expect(device.info(.intx) == IRQInfo(count: 1, eventfd: true, maskable: true, automasked: true))
        #expect(device.info(.msi) == IRQInfo(count: 32, eventfd: true, noResize: true))
        #expect(device.info(.msix) == IRQInfo(count: 64, eventfd: true))
        #expect(device.info(.err) == IRQInfo(count: 1, eventfd: true, noResize: true))
        #expect(device.info(.req) == IRQInfo(count: 1, eventfd: true, noResize: true))
        var fixed = DeviceProfile()
        fixed.platformGrowsMSIX = false
        #expect(DeviceInterrupts(fixed).info(.msix)?.noResize == true)
        #expect(DeviceInterrupts(DeviceProfile(hasINTx: false)).info(.intx)?.count == 0)
    }

    @Test("vector counts beyond what PCI allows are cut to it")
    func cut() {
        let profile = DeviceProfile(msiVectors: 33, msixVectors: .max)
        #expect(profile.msiVectors == 32 && profile.msixVectors == 2048)
    }
}
