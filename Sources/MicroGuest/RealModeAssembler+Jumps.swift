extension RealModeAssembler {
    /// When a conditional jump is taken, after a comparison.
    public enum Condition: UInt8, Sendable {
        /// Less, as unsigned numbers (`jb`).
        case below = 2
        /// Not less, as unsigned numbers (`jae`).
        case aboveOrEqual = 3
        /// `je`.
        case equal = 4
        /// `jne`.
        case notEqual = 5
    }

    /// A jump whose target is not assembled yet; give it to ``land(_:)`` there.
    public struct ForwardJump: Sendable {
        /// Where the distance goes.
        let place: Int
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

    /// A conditional jump back to `target`.
    public mutating func jump(if condition: Condition, to target: UInt16) {
        emit(0x0f, 0x80 | condition.rawValue)
        emit16(target &- (here &+ 2))
    }

    /// A conditional jump to what will be assembled later.
    public mutating func jumpForward(if condition: Condition) -> ForwardJump {
        emit(0x0f, 0x80 | condition.rawValue, 0, 0)
        return ForwardJump(place: bytes.count - 2)
    }

    /// Lets a forward jump arrive here. Once a jump.
    public mutating func land(_ jump: ForwardJump) {
        patch16(at: jump.place, UInt16(bytes.count - jump.place - 2))
    }

    /// Sleeps for ever, awake for interrupts only.
    public mutating func haltForEver() {
        let again = here
        hlt()
        jmp(again)
    }

    /// Sleeps until the counter at `counter` has reached the one at `goal`, awake for interrupts only.
    ///
    /// Looks with interrupts off and lets them in with the very instruction that sleeps (`sti` acts after the next),
    /// so an interrupt between look and sleep still ends the sleep. Leaves interrupts off, and the counter in EAX.
    public mutating func sleepUntil(_ counter: UInt16, reaches goal: UInt16) {
        let look = here
        cli()
        loadEAX(counter)
        compareEAX(goal)
        let reached = jumpForward(if: .aboveOrEqual)
        sti()
        hlt()
        jmp(look)
        land(reached)
    }
}
