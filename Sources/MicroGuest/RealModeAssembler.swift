/// Assembles 16-bit real-mode code, one instruction a call, in the order of the calls.
///
/// Only what a small guest needs; every emitter is named after its instruction. Accesses to memory are in
/// `RealModeAssembler+Memory.swift`, jumps in `RealModeAssembler+Jumps.swift`. Source: Intel SDM volume 2.
public struct RealModeAssembler: Sendable {
    /// The address of the first byte, in segment 0.
    public let origin: UInt16
    /// The code so far.
    public private(set) var bytes: [UInt8] = []

    /// Begins at `origin`.
    public init(origin: UInt16) { self.origin = origin }

    /// The address of the next instruction, for jumps and interrupt vectors.
    public var here: UInt16 { origin + UInt16(bytes.count) }

    mutating func emit(_ code: UInt8...) { bytes += code }

    mutating func emit16(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value))
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
    }

    mutating func emit32(_ value: UInt32) {
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
    /// `mov es, ax`.
    public mutating func movESfromAX() { emit(0x8e, 0xc0) }

    /// `out port, al`.
    public mutating func outAL(port: UInt8) { emit(0xe6, port) }
    /// `out dx, al`.
    public mutating func outDXfromAL() { emit(0xee) }
    /// `out dx, ax`.
    public mutating func outDXfromAX() { emit(0xef) }
    /// `out dx, eax`.
    public mutating func outDXfromEAX() { emit(0x66, 0xef) }

    /// Puts the distance to `target` where a forward jump left room for it.
    mutating func patch16(at place: Int, _ value: UInt16) {
        bytes[place] = UInt8(truncatingIfNeeded: value)
        bytes[place + 1] = UInt8(truncatingIfNeeded: value >> 8)
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

    /// Initialises the first PIC (8259A): its eight lines get the vectors from `vectorBase`, and only `line` is let
    /// through.
    ///
    /// - Parameters:
    ///   - line: 3 to 7; 0 to 2 are the timer's, the keyboard's and the second PIC's.
    ///   - levelTriggered: For an irqfd with resampling. One without raises and lowers the line at once, which a
    ///     level-triggered input does not keep.
    public mutating func initialisePIC(line: UInt8, vectorBase: UInt8 = 0x20, levelTriggered: Bool) {
        precondition(3...7 ~= line && vectorBase & 7 == 0, "a line of the first PIC, and a base of eight vectors")
        let bit = UInt8(1) << line
        writeByte(0x11, port: 0x20)  // ICW1: cascaded, ICW4 follows
        writeByte(vectorBase, port: 0x21)  // ICW2
        writeByte(0x04, port: 0x21)  // ICW3: the second PIC is on line 2
        writeByte(0x01, port: 0x21)  // ICW4: 8086 mode
        writeByte(~bit, port: 0x21)  // OCW1: mask all others
        writeByte(levelTriggered ? bit : 0, port: 0x4d0)  // ELCR
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
