import CKernel
import InterruptModel
import Testing

@Suite("A request is the exact bytes of struct vfio_irq_set")
struct EncodingTests {
    @Test("an error says operation, errno and remedy, whether the literals are long, short or absent")
    func errorsSpeak() {
        let whole = DeviceError("SET_IRQS", errno: EBUSY, remedy: "let go of it")
        #expect("\(whole)" == "SET_IRQS: EBUSY: let go of it")
        #expect("\(DeviceError("reset", errno: EIO))" == "reset: EIO")
        #expect("\(whole.operation)" == "SET_IRQS" && "\(whole.remedy)" == "let go of it")
        #expect(DeviceError("reset", errno: EIO).remedy.utf8CodeUnitCount == 0)
        #expect(whole == DeviceError("SET_IRQS", errno: EBUSY) && whole != DeviceError("SET_IRQ", errno: EBUSY))
    }

    @Test("header and eventfds stand where the C structure has them")
    func bytesMatchTheHeader() {
        let request = IRQRequest(.msix, .trigger, start: 3, .eventfd([7, -1, 0x1234]))
        var header = vfio_irq_set()
        header.argsz = 32
        header.flags = UInt32(VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
        header.index = UInt32(VFIO_PCI_MSIX_IRQ_INDEX)
        header.start = 3
        header.count = 3
        // SAFETY: vfio_irq_set is five 32-bit words without padding, copied while it lives.
        let expected = unsafe withUnsafeBytes(of: &header) { unsafe Array($0) }
        let encoded = request.encoded
        #expect(Array(encoded[..<20]) == expected)
        #expect(Array(encoded[20...]) == [7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x34, 0x12, 0, 0])
    }

    @Test("NONE has no payload whatever its count, BOOL one byte a vector")
    func sizes() {
        #expect(IRQRequest(.msi, .trigger, .none(count: 32)).encoded.count == 20)
        #expect(
            IRQRequest(.intx, .unmask, .bool([2])).encoded == [21, 0, 0, 0, 0x12, 0, 0, 0]
                + Array(repeating: 0, count: 8) + [1, 0, 0, 0, 2])
        #expect(IRQRequest(.err, .trigger, .eventfd([])).header.argsz == 20)
    }

    @Test("the flag bits and index numbers are the kernel's own")
    func constants() {
        #expect(IRQRequest.Action.mask.rawValue == UInt32(VFIO_IRQ_SET_ACTION_MASK))
        #expect(IRQRequest.Action.unmask.rawValue == UInt32(VFIO_IRQ_SET_ACTION_UNMASK))
        #expect(IRQRequest.Action.trigger.rawValue == UInt32(VFIO_IRQ_SET_ACTION_TRIGGER))
        #expect(IRQIndex.allCases.map(\.rawValue) == [0, 1, 2, 3, 4])
        #expect(UInt32(VFIO_PCI_REQ_IRQ_INDEX) == IRQIndex.req.rawValue)
    }

    @Test("encoding and decoding are inverse", arguments: seeds)
    func roundTrip(seed: UInt64) {
        var dice = Dice(seed)
        for _ in 0..<200 {
            let request = dice.request(hostile: true)
            let raw = RawIRQRequest(bytes: request.encoded)
            #expect(raw?.request == request, "seed \(seed)")
            #expect(raw?.bytes == request.encoded, "seed \(seed)")
        }
    }

    @Test("bytes beyond the payload are kept by the raw form and ignored by the request")
    func extraBytes() {
        let request = IRQRequest(.msi, .trigger, .bool([1, 0]))
        let raw = RawIRQRequest(bytes: request.encoded + [9, 9, 9])
        #expect(raw?.payload == [1, 0, 9, 9, 9])
        #expect(raw?.request == request)
    }

    @Test("fewer than 20 bytes are no request", arguments: 0..<20)
    func shortHeader(count: Int) {
        let bytes = [UInt8](repeating: 0, count: count)
        #expect(RawIRQRequest(bytes: bytes) == nil)
        var device = DeviceInterrupts(DeviceProfile())
        let outcome = device.apply(bytes: bytes, lookUp: Descriptors.lookUp)
        #expect(outcome.returnValue == -EFAULT && outcome.reason == .headerUnreadable)
    }

    @Test("hostile bytes never trap and never promise more payload than there is", arguments: seeds)
    func hostileBytes(seed: UInt64) {
        var dice = Dice(seed)
        var device = DeviceInterrupts(DeviceProfile())
        for _ in 0..<2000 {
            let bytes = dice.hostileBytes()
            let outcome = device.apply(bytes: bytes, lookUp: Descriptors.lookUp)
            if let raw = RawIRQRequest(bytes: bytes) {
                _ = raw.request
                _ = device.explain(raw, lookUp: Descriptors.lookUp).lines
            }
            if case .refused(let errno) = outcome.verdict { #expect(errno > 0, "seed \(seed)") }
        }
    }

    @Test("a count near 2^32 allocates nothing and is refused")
    func hugeCounts() {
        for kind in [1, 2, 4] as [UInt32] {
            let header = IRQSetHeader(argsz: .max, flags: kind | 0x20, index: 2, start: 0, count: .max - 1)
            let raw = RawIRQRequest(header: header)
            #expect(kind == 1 || raw.request == nil)
            var device = DeviceInterrupts(DeviceProfile())
            #expect(device.apply(raw, lookUp: Descriptors.lookUp).reason == .rangeOutside)
        }
    }
}

extension Dice {
    /// A request that may or may not suit a device.
    mutating func request(hostile: Bool) -> IRQRequest {
        let index = pick(IRQIndex.allCases)
        let action = pick([.trigger, .trigger, .trigger, .mask, .unmask] as [IRQRequest.Action])
        let most = index == .msix ? 8 : index == .msi ? 4 : 1
        let start = below(8) == 0 && hostile ? UInt32(truncatingIfNeeded: next()) : UInt32(below(most))
        let room = max(0, most - Int(min(start, 64)))
        let count = hostile && below(4) == 0 ? below(most + 3) : (room == 0 ? 0 : 1 + below(room))
        switch below(4) {
        case 0: return IRQRequest(index, action, start: start, .none(count: below(4) == 0 ? 0 : UInt32(count)))
        case 1: return IRQRequest(index, action, start: start, .bool((0..<count).map { _ in UInt8(below(3)) }))
        default: return IRQRequest(index, action, start: start, .eventfd((0..<count).map { _ in descriptor() }))
        }
    }

    /// Mostly a good eventfd, sometimes -1 or -2, now and then a bad one.
    mutating func descriptor() -> Int32 {
        switch below(20) {
        case 0: Descriptors.otherFile
        case 1: Descriptors.notOpen
        case 2, 3, 4: -1
        case 5: -2
        default: Int32(100 + below(64))
        }
    }

    /// Bytes that are somewhat like a request, so that they get past the first checks.
    mutating func hostileBytes() -> [UInt8] {
        if below(3) == 0 { return (0..<below(64)).map { _ in UInt8(truncatingIfNeeded: next()) } }
        var bytes = request(hostile: true).encoded
        for _ in 0..<below(4) { bytes[below(bytes.count)] = UInt8(truncatingIfNeeded: next()) }
        if below(3) == 0 { bytes.removeLast(below(bytes.count)) }
        return bytes
    }
}
