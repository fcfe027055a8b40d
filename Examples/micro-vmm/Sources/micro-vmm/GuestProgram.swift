// What runs inside the guest: 16-bit code, assembled here. It is a driver, an interrupt handler and nothing else.
import InterruptModel
import MicroGuest

/// The device's registers that the guest and the bus use (docs/exerciser.md).
enum Register {
    static let magic: UInt16 = 0x000
    static let index: UInt16 = 0x010
    static let number: UInt16 = 0x014
    static let raise: UInt16 = 0x024
    static let assertLine: UInt16 = 0x090
    static let letLineGo: UInt16 = 0x094
}

enum GuestProgram {
    /// The guest's interrupt vector for the message, and the PIC's line with the vector that the PIC makes of it.
    static let messageVector: UInt8 = 0x40
    static let pin: UInt8 = 5
    static let picBase: UInt8 = 0x20

    /// Counters in the guest's memory.
    private static let wantedMessages: UInt16 = 0x800
    private static let takenMessages: UInt16 = 0x804
    private static let wantedLine: UInt16 = 0x808
    private static let takenLine: UInt16 = 0x80c

    /// What the guest's handlers counted. After its end.
    static func taken(by guest: MicroGuest) -> (messages: UInt64, line: UInt64) {
        (UInt64(guest.load(takenMessages)), UInt64(guest.load(takenLine)))
    }

    static func image(rounds: UInt32) -> GuestImage {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        code.initialisePIC(line: pin, vectorBase: picBase, levelTriggered: true)
        code.movAX(Map.segment)
        code.movESfromAX()

        // Is it the device this driver knows? If not, the counters stay zero and the VMM says so.
        code.loadEAXfromES(Register.magic)
        code.compareEAX(with: 0x5851_5249)
        let stranger = code.jumpForward(if: .notEqual)

        // By message: raise, sleep until the handler has counted it, raise the next.
        code.storeInES(IRQIndex.msix.rawValue, Map.interruptType)
        code.storeInES(IRQIndex.msix.rawValue, Register.index)
        code.storeInES(0, Register.number)
        let nextMessage = code.here
        code.incrementDWord(wantedMessages)
        code.storeInES(1, Register.raise)
        code.sleepUntil(takenMessages, reaches: wantedMessages)
        code.compareEAX(with: rounds)
        code.jump(if: .below, to: nextMessage)

        // By line: the same.
        code.storeInES(IRQIndex.intx.rawValue, Map.interruptType)
        let nextLine = code.here
        code.incrementDWord(wantedLine)
        code.storeInES(1, Register.assertLine)
        code.sleepUntil(takenLine, reaches: wantedLine)
        code.compareEAX(with: rounds)
        code.jump(if: .below, to: nextLine)

        code.land(stranger)
        code.writeWord(0, port: Map.powerButton)
        code.haltForEver()
        placeHandlers(&image, &code)
        image.place(code)
        return image
    }

    /// Handlers spoil EAX, ECX and EDX: they interrupt a sleep, which holds nothing in them.
    private static func placeHandlers(_ image: inout GuestImage, _ code: inout RealModeAssembler) {
        image.setVector(messageVector, to: code.here)
        code.incrementDWord(takenMessages)
        code.storeInES(1, Map.messageDoorbell)
        code.endOfInterruptX2APIC()
        code.iret()

        // IRQ 7 is also what the PIC says when a level was gone before the processor asked for its vector: it is
        // spurious then, and not acknowledged.
        image.setVector(picBase + 7, to: code.here)
        code.iret()

        image.setVector(picBase + pin, to: code.here)
        // Quiet the device first: a line that is still asserted at the end of the interrupt would fire again.
        code.storeInES(1, Register.letLineGo)
        code.incrementDWord(takenLine)
        code.storeInES(1, Map.lineDoorbell)
        code.endOfInterruptPIC()
        code.iret()
    }
}
