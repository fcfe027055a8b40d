/// The numbers that the closed loop's guest and its host agree on.
enum ClosedLoop {
    /// The first of the interrupt vectors of messages; below are exceptions (0 to 31) and the PICs' (32 to 47).
    static let firstMessageVector = 0x30
    /// The vector of the pin's interrupt: the first PIC delivers IRQ n as 0x20 + n.
    static let pinVector = 0x20 + UInt8(MicroGuest.pinGSI)
    /// Messages have vectors up to 0xEF; the classes above are left to the local APIC's own.
    static let mostMessages = 0xf0 - firstMessageVector
    /// The spurious vector that is set in the local APIC.
    static let spuriousVector: UInt8 = 0xff

    /// Handlers ring here: message `i` by writing the value `i`, which the doorbell matches.
    static let messagePort: UInt16 = 0x510
    /// What the first PIC delivers when a level was withdrawn before the processor asked for its vector: IRQ 7.
    static let spuriousPICVector: UInt8 = 0x27
    /// The pin's handler rings here.
    static let pinPort: UInt16 = 0x520
    /// Rung once, when the guest has set itself up.
    static let readyPort: UInt16 = 0x522
    /// Nobody answers here: a write tells of an exception, by its vector, and ends the guest.
    static let faultPort: UInt16 = 0x530
}

extension GuestImage {
    /// A guest that rings one doorbell for every interrupt it takes, and sleeps otherwise.
    static func closedLoop(messageVectors: Int, pin: MicroGuest.Pin) -> GuestImage {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)

        code.cli()
        if pin != .none { code.initialisePIC(line: UInt8(MicroGuest.pinGSI), levelTriggered: pin == .level) }
        code.writeWord(1, port: ClosedLoop.readyPort)
        code.sti()
        code.haltForEver()

        for vector in UInt8.min...UInt8.max where vector != ClosedLoop.spuriousVector {
            image.setVector(vector, to: code.here)
            code.writeWord(UInt16(vector), port: ClosedLoop.faultPort)
            code.haltForEver()
        }
        image.setVector(ClosedLoop.spuriousVector, to: code.here)
        if pin != .none { image.setVector(ClosedLoop.spuriousPICVector, to: code.here) }
        code.iret()  // a spurious interrupt is not acknowledged

        for message in 0..<messageVectors {
            image.setVector(UInt8(ClosedLoop.firstMessageVector + message), to: code.here)
            code.writeWord(UInt16(message), port: ClosedLoop.messagePort)
            code.endOfInterruptX2APIC()
            code.iret()
        }
        if pin != .none {
            image.setVector(ClosedLoop.pinVector, to: code.here)
            code.writeWord(1, port: ClosedLoop.pinPort)
            code.endOfInterruptPIC()
            code.iret()
        }
        image.place(code)
        return image
    }
}
