/// The levels of interrupt pins that several lines share: a pin is high while any of its lines is asserted.
///
/// A pure value with one place a line, all made at the start. Lines say that they are asserted, once or more often;
/// pins change when the first one does and when the last one lets go. An end of interrupt lets all lines of the pin go
/// at once: those whose device still asserts will say so again, because unmasking a device that asserts fires it again.
/// Costs a look at each line for each change; there are as many as devices.
public struct PinLevels: Equatable, Sendable {
    /// What a change did to the pin.
    public enum Change: Equatable, Sendable {
        /// The pin is as it was.
        case none
        /// The pin went high: drive it up.
        case rises
        /// The pin went low: let it down.
        case falls
    }

    private struct Line: Equatable {
        var pin: UInt32
        var isAsserted = false
    }

    private var lines: [Line?]

    /// Levels for so many lines, none of them attached.
    public init(lines: Int) { self.lines = [Line?](repeating: nil, count: lines) }

    /// Puts a line on a pin, not asserted. A line that was on another pin leaves that first.
    ///
    /// - Returns: What became of the pin that the line left.
    @discardableResult
    public mutating func attach(_ line: Int, to pin: UInt32) -> Change {
        let change = detach(line)
        lines[line] = Line(pin: pin)
        return change
    }

    /// Takes a line away from its pin, which it lets go. No effect when it is on none.
    @discardableResult
    public mutating func detach(_ line: Int) -> Change {
        let change = deassert(line)
        lines[line] = nil
        return change
    }

    /// The line asserts its pin. Asserting twice is asserting once.
    public mutating func assert(_ line: Int) -> Change {
        guard let attached = lines[line], !attached.isAsserted else { return .none }
        let was = isHigh(attached.pin)
        lines[line]?.isAsserted = true
        return was ? .none : .rises
    }

    /// The line lets its pin go.
    public mutating func deassert(_ line: Int) -> Change {
        guard let attached = lines[line], attached.isAsserted else { return .none }
        lines[line]?.isAsserted = false
        return isHigh(attached.pin) ? .none : .falls
    }

    /// The guest has acknowledged the pin: all of its lines let go.
    public mutating func endOfInterrupt(_ pin: UInt32) -> Change {
        let was = isHigh(pin)
        for index in lines.indices where lines[index]?.pin == pin { lines[index]?.isAsserted = false }
        return was ? .falls : .none
    }

    /// How many lines assert the pin.
    public func count(_ pin: UInt32) -> Int {
        var count = 0
        for line in lines where line?.pin == pin && line?.isAsserted == true { count += 1 }
        return count
    }

    /// Whether any line asserts the pin.
    public func isHigh(_ pin: UInt32) -> Bool { count(pin) > 0 }

    /// Whether this line asserts its pin.
    public func isAsserted(_ line: Int) -> Bool { lines[line]?.isAsserted ?? false }

    /// The pin of a line; `nil` when it is on none.
    public func pin(of line: Int) -> UInt32? { lines[line]?.pin }
}
