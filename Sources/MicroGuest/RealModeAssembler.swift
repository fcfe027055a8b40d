/// Assembles 16-bit real-mode code, one instruction a call, in the order of the calls.
///
/// Only what a small guest needs; every emitter is named after its instruction. Source: Intel SDM volume 2.
public struct RealModeAssembler: Sendable {
    /// The address of the first byte, in segment 0.
    public let origin: UInt16
    /// The code so far.
    public private(set) var bytes: [UInt8] = []

    /// Begins at `origin`.
    public init(origin: UInt16) { self.origin = origin }

    /// The address of the next instruction, for jumps and interrupt vectors.
    public var here: UInt16 { origin + UInt16(bytes.count) }

    private mutating func emit(_ code: UInt8...) { bytes += code }

    private mutating func emit16(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value))
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
    }

    private mutating func emit32(_ value: UInt32) {
        emit16(UInt16(truncatingIfNeeded: value))
        emit16(UInt16(truncatingIfNeeded: value >> 16))
    }

    /// Places bytes that are not code.
    public mutating func data(_ contents: [UInt8]) { bytes += contents }

    /// `cli`: interrupts off.
    public mutating func cli() { emit(0xfa) }
    /// `sti`: interrupts on, after the next instruction.
    public mutating func sti() { emit(0xfb) }
    /// `hlt`: sleep until an interrupt.
    public mutating func hlt() { emit(0xf4) }
    /// `iret`: back from an interrupt handler.
    public mutating func iret() { emit(0xcf) }
    /// `wrmsr`: EDX:EAX to the model-specific register ECX.
    public mutating func wrmsr() { emit(0x0f, 0x30) }
    /// `ud2`: raises the invalid-opcode exception.
    public mutating func ud2() { emit(0x0f, 0x0b) }
    /// `lidt [address]`: loads the table of interrupt vectors' place and size.
    public mutating func lidt(_ address: UInt16) {
        emit(0x0f, 0x01, 0x1e)
        emit16(address)
    }

    /// `mov al, value`.
    public mutating func movAL(_ value: UInt8) { emit(0xb0, value) }
    /// `mov ax, value`.
    public mutating func movAX(_ value: UInt16) {
        emit(0xb8)
        emit16(value)
    }
    /// `mov eax, value`.
    public mutating func movEAX(_ value: UInt32) {
        emit(0x66, 0xb8)
        emit32(value)
    }
    /// `mov ecx, value`.
    public mutating func movECX(_ value: UInt32) {
        emit(0x66, 0xb9)
        emit32(value)
    }
    /// `mov dx, value`.
    public mutating func movDX(_ value: UInt16) {
        emit(0xba)
        emit16(value)
    }
    /// `xor eax, eax`.
    public mutating func xorEAX() { emit(0x66, 0x31, 0xc0) }
    /// `xor edx, edx`.
    public mutating func xorEDX() { emit(0x66, 0x31, 0xd2) }
    /// `mov ds, ax`.
    public mutating func movDSfromAX() { emit(0x8e, 0xd8) }

    /// `out port, al`.
    public mutating func outAL(port: UInt8) { emit(0xe6, port) }
    /// `out dx, al`.
    public mutating func outDXfromAL() { emit(0xee) }
    /// `out dx, ax`.
    public mutating func outDXfromAX() { emit(0xef) }
    /// `out dx, eax`.
    public mutating func outDXfromEAX() { emit(0x66, 0xef) }

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

    /// `jmp target`.
    public mutating func jmp(_ target: UInt16) {
        emit(0xe9)
        emit16(target &- (here &+ 2))
    }

    /// `jmp segment:offset`.
    public mutating func jmpFar(_ segment: UInt16, _ offset: UInt16) {
        emit(0xea)
        emit16(offset)
        emit16(segment)
    }

    /// Sleeps for ever, awake for interrupts only.
    public mutating func haltForEver() {
        let again = here
        hlt()
        jmp(again)
    }
}

// What a handler does, in a few instructions each. They spoil EAX, ECX and EDX: the interrupted code is a halt loop,
// and handlers do not nest, so nobody misses them.
extension RealModeAssembler {
    /// Writes a byte to a port.
    public mutating func writeByte(_ value: UInt8, port: UInt16) {
        movAL(value)
        if port < 0x100 { return outAL(port: UInt8(port)) }
        movDX(port)
        outDXfromAL()
    }

    /// Writes two bytes to a port: how this guest rings a doorbell.
    public mutating func writeWord(_ value: UInt16, port: UInt16) {
        movDX(port)
        movAX(value)
        outDXfromAX()
    }

    /// Tells the first PIC that the interrupt has been served (a non-specific end of interrupt).
    public mutating func endOfInterruptPIC() { writeByte(0x20, port: 0x20) }

    /// Tells the local APIC, in x2APIC mode, that the interrupt has been served.
    public mutating func endOfInterruptX2APIC() {
        movECX(0x80b)
        xorEAX()
        xorEDX()
        wrmsr()
    }
}
