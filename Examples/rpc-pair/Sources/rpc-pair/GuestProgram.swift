// The guest's side: 16-bit code, assembled here, that makes calls and checks the answers.
import MicroGuest

enum GuestProgram {
    static let vector: UInt8 = 0x40
    static let doorbell: UInt16 = 0x510
    static let powerButton: UInt16 = 0x501

    /// The request and its answer, in the guest's memory.
    static let procedure: UInt16 = 0x900
    static let first: UInt16 = 0x904
    static let second: UInt16 = 0x908
    static let answer: UInt16 = 0x90c
    /// What the guest counts.
    static let rightAnswers: UInt16 = 0x910
    private static let callsMade: UInt16 = 0x914
    private static let completions: UInt16 = 0x918

    /// - Parameter calls: An even number: sums and products take turns.
    static func image(calls: UInt32) -> GuestImage {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        code.store(7, second)
        let again = code.here
        code.incrementDWord(first)
        call(.sum, &code) { $0.addEAX(second) }
        call(.product, &code) { $0.multiplyEAX(second) }
        code.loadEAX(callsMade)
        code.compareEAX(with: calls)
        code.jump(if: .below, to: again)
        code.writeWord(0, port: powerButton)
        code.haltForEver()

        // The completion's handler. It interrupts a sleep, which holds nothing in the registers that it spoils.
        image.setVector(vector, to: code.here)
        code.incrementDWord(completions)
        code.endOfInterruptX2APIC()
        code.iret()
        image.place(code)
        return image
    }

    /// One call: request, doorbell, sleep until the completion; then the same sum here, and a comparison.
    private static func call(
        _ called: Procedure, _ code: inout RealModeAssembler, _ compute: (inout RealModeAssembler) -> Void
    ) {
        code.store(called.rawValue, procedure)
        code.store(0xffff_ffff, answer)  // so that the last answer is not taken for this one's
        code.incrementDWord(callsMade)
        code.writeWord(1, port: doorbell)
        code.sleepUntil(completions, reaches: callsMade)
        code.loadEAX(first)
        compute(&code)
        code.compareEAX(answer)
        let wrong = code.jumpForward(if: .notEqual)
        code.incrementDWord(rightAnswers)
        code.land(wrong)
    }
}
