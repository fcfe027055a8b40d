// What a driver computes with: EAX and constants, and 32-bit reads of ports.
extension RealModeAssembler {
    /// `add eax, value`.
    public mutating func addEAX(with value: UInt32) {
        emit(0x66, 0x05)
        emit32(value)
    }

    /// `and eax, value`.
    public mutating func andEAX(with value: UInt32) {
        emit(0x66, 0x25)
        emit32(value)
    }

    /// `shr eax, bits`.
    public mutating func shiftEAXRight(by bits: UInt8) { emit(0x66, 0xc1, 0xe8, bits) }

    /// `in eax, dx`.
    public mutating func inEAXfromDX() { emit(0x66, 0xed) }
}
