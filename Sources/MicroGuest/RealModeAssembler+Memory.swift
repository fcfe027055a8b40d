// Memory, by a 16-bit address in DS (the guest's own memory) or ES (a device's registers: a segment can reach addresses
// up to 1 MiB, which is more than the guest's memory has).
extension RealModeAssembler {
    /// `mov [ds:address], al`.
    public mutating func storeAL(_ address: UInt16) {
        emit(0xa2)
        emit16(address)
    }

    /// `mov [ds:address], ax`.
    public mutating func storeAX(_ address: UInt16) {
        emit(0xa3)
        emit16(address)
    }

    /// `mov [ds:address], eax`.
    public mutating func storeEAX(_ address: UInt16) {
        emit(0x66, 0xa3)
        emit16(address)
    }

    /// `mov dword [ds:address], value`.
    public mutating func store(_ value: UInt32, _ address: UInt16) {
        emit(0x66, 0xc7, 0x06)
        emit16(address)
        emit32(value)
    }

    /// `mov eax, [ds:address]`.
    public mutating func loadEAX(_ address: UInt16) {
        emit(0x66, 0xa1)
        emit16(address)
    }

    /// `inc dword [ds:address]`: counts in the guest's memory.
    public mutating func incrementDWord(_ address: UInt16) {
        emit(0x66, 0xff, 0x06)
        emit16(address)
    }

    /// `add eax, [ds:address]`.
    public mutating func addEAX(_ address: UInt16) {
        emit(0x66, 0x03, 0x06)
        emit16(address)
    }

    /// `imul eax, [ds:address]`: the lower 32 bits of the product.
    public mutating func multiplyEAX(_ address: UInt16) {
        emit(0x66, 0x0f, 0xaf, 0x06)
        emit16(address)
    }

    /// `cmp eax, [ds:address]`.
    public mutating func compareEAX(_ address: UInt16) {
        emit(0x66, 0x3b, 0x06)
        emit16(address)
    }

    /// `cmp eax, value`.
    public mutating func compareEAX(with value: UInt32) {
        emit(0x66, 0x3d)
        emit32(value)
    }

    /// `mov [es:address], eax`: writes a 32-bit register of a device.
    public mutating func storeEAXinES(_ address: UInt16) {
        emit(0x26, 0x66, 0xa3)
        emit16(address)
    }

    /// `mov dword [es:address], value`: writes a 32-bit register of a device.
    public mutating func storeInES(_ value: UInt32, _ address: UInt16) {
        emit(0x26, 0x66, 0xc7, 0x06)
        emit16(address)
        emit32(value)
    }

    /// `mov eax, [es:address]`: reads a 32-bit register of a device.
    public mutating func loadEAXfromES(_ address: UInt16) {
        emit(0x26, 0x66, 0xa1)
        emit16(address)
    }
}
