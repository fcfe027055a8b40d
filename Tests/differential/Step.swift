import InterruptModel

/// One thing that is done to the device and to the model alike.
enum Step: CustomStringConvertible {
    /// SET_IRQS with exactly these bytes.
    case request([UInt8])
    /// The device raises an interrupt: this vector's message, or its line.
    case raise(Int)
    /// The device's driver acknowledges, so that the device lets its line go.
    case acknowledge
    /// The driver writes DisINTx in the command register.
    case disINTx(Bool)
    /// Somebody signals the eventfd of this number, as a guest's end of interrupt does with the unmasking one.
    case signal(Int32)

    var isRequest: Bool { if case .request = self { true } else { false } }

    var description: String {
        switch self {
        case .request(let bytes):
            guard let raw = RawIRQRequest(bytes: bytes) else { return "SET_IRQS of \(bytes.count) bytes: \(bytes)" }
            let header = raw.header
            let flags = String(header.flags, radix: 16)
            let fixed = "argsz \(header.argsz) flags 0x\(flags) index \(header.index) start \(header.start)"
            if let request = raw.request { return "SET_IRQS \(fixed): \(request.action) \(request.data)" }
            return "SET_IRQS \(fixed) count \(header.count) payload \(raw.payload)"
        case .raise(let vector): return "the device raises \(vector)"
        case .acknowledge: return "the device is acknowledged"
        case .disINTx(let set): return "DisINTx := \(set)"
        case .signal(let number): return "eventfd \(number) is signalled"
        }
    }
}

/// How the kernel and the model differ, and after which steps.
struct Disagreement {
    var step: Int
    var what: String
}
