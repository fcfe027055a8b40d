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
    /// Beside the rounds, one message is raised under the function mask and one under the entry's.
    static let maskedMessages: UInt32 = 2

    /// Counters in the guest's memory.
    private static let wantedMessages: UInt16 = 0x800
    private static let takenMessages: UInt16 = 0x804
    private static let wantedLine: UInt16 = 0x808
    private static let takenLine: UInt16 = 0x80c
    private static let pendingSeen: UInt16 = 0x810

    /// What the guest's handlers counted, and how often it saw a pending bit. After its end.
    static func taken(by guest: MicroGuest) -> (messages: UInt64, line: UInt64, pending: UInt64) {
        (UInt64(guest.load(takenMessages)), UInt64(guest.load(takenLine)), UInt64(guest.load(pendingSeen)))
    }

    static func image(rounds: UInt32) -> GuestImage {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        code.initialisePIC(line: pin, vectorBase: picBase, levelTriggered: true)

        // Find the device, give it addresses, find its MSI-X. If it is not there, the counters stay zero.
        var strangers = PCIDriver.find(&code)
        code.movAX(Map.segment)
        code.movESfromAX()
        code.loadEAXfromES(Register.magic)
        code.compareEAX(with: 0x5851_5249)
        strangers.append(code.jumpForward(if: .notEqual))
        code.storeInES(IRQIndex.msix.rawValue, Register.index)
        code.storeInES(0, Register.number)

        // Under the function mask: the entry is open, the message pends, and comes when the mask goes.
        PCIDriver.writeControl(0xc000, &code)
        PCIDriver.program(vector: messageVector, &code)
        raiseMasked(&code)
        PCIDriver.writeControl(0x8000, &code)
        code.sleepUntil(takenMessages, reaches: wantedMessages)

        // By message: raise, sleep until the handler has counted it, raise the next.
        let nextMessage = code.here
        code.incrementDWord(wantedMessages)
        code.storeInES(1, Register.raise)
        code.sleepUntil(takenMessages, reaches: wantedMessages)
        code.compareEAX(with: rounds + 1)
        code.jump(if: .below, to: nextMessage)

        // Under the entry's own mask: the same.
        PCIDriver.setMask(true, &code)
        raiseMasked(&code)
        PCIDriver.setMask(false, &code)
        code.sleepUntil(takenMessages, reaches: wantedMessages)
        PCIDriver.writeControl(0, &code)

        // By line, which is what a function without MSI-X has.
        let nextLine = code.here
        code.incrementDWord(wantedLine)
        code.storeInES(1, Register.assertLine)
        code.sleepUntil(takenLine, reaches: wantedLine)
        code.compareEAX(with: rounds)
        code.jump(if: .below, to: nextLine)

        for stranger in strangers { code.land(stranger) }
        code.writeWord(0, port: Map.powerButton)
        code.haltForEver()
        placeHandlers(&image, &code)
        image.place(code)
        return image
    }

    /// Raises a message that must not come, and waits until the pending bit says that it was raised.
    private static func raiseMasked(_ code: inout RealModeAssembler) {
        code.incrementDWord(wantedMessages)
        code.storeInES(1, Register.raise)
        PCIDriver.awaitPendingBit(&code)
        code.incrementDWord(pendingSeen)
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
