/// The memory of a real-mode guest before it starts: 64 KiB with the interrupt vectors at 0 and code from
/// ``codeOrigin``.
public struct GuestImage: Sendable {
    /// How much memory the guest has, from address 0.
    public static let size = 0x1_0000
    /// Where code begins; the entry point unless another is given.
    public static let codeOrigin: UInt16 = 0x1000
    /// The stack grows down from here.
    public static let stackTop: UInt16 = 0xf000

    /// The contents.
    public private(set) var bytes = [UInt8](repeating: 0, count: GuestImage.size)
    /// Where the guest begins, in segment 0.
    public var entry = GuestImage.codeOrigin

    /// Begins with zeroes.
    public init() {}

    /// Places assembled code at its origin.
    public mutating func place(_ code: RealModeAssembler) {
        precondition(Int(code.origin) + code.bytes.count <= Int(GuestImage.stackTop) - 0x400, "code reaches the stack")
        bytes.replaceSubrange(Int(code.origin)..<Int(code.origin) + code.bytes.count, with: code.bytes)
    }

    /// Lets interrupt `vector` enter at `address` in segment 0.
    public mutating func setVector(_ vector: UInt8, to address: UInt16) {
        let at = Int(vector) * 4
        bytes[at] = UInt8(truncatingIfNeeded: address)
        bytes[at + 1] = UInt8(truncatingIfNeeded: address >> 8)
        bytes[at + 2] = 0
        bytes[at + 3] = 0
    }
}
