internal import CKernel

/// What a request would do and why, in lines for people.
///
/// Not Equatable: comparing String would bring the tables of Unicode into the Embedded archive.
public struct Explanation: Sendable {
    /// The result and its reason: `"ENOTTY: MSI-X vectors cannot be masked through VFIO; take …"`.
    public let headline: String
    /// What changes, one thing a line; after a refusal, what had happened by then.
    public let details: [String]

    /// Headline and details in order.
    public var lines: [String] { [headline] + details }

    /// Describes `outcome`, which turned `before` into `after`.
    public init(of outcome: Outcome, before: DeviceInterrupts, after: DeviceInterrupts) {
        headline = Self.headline(outcome)
        var details: [String] = []
        if let vector = outcome.failedAt { details.append("it failed at vector \(vector)") }
        details += Self.typeChange(before, after)
        for index in IRQIndex.allCases { details += Self.assignments(index, before, after) }
        details += Self.lineChange(before, after)
        details += Self.signals(outcome)
        if case .refused = outcome.verdict, before == after { details.append("nothing was changed") }
        self.details = details
    }

    private static func headline(_ outcome: Outcome) -> String {
        var text =
            switch outcome.verdict {
            case .done: "0"
            case .available(let count): "\(count) (a positive result, not an errno)"
            case .refused(let errno): name(ofErrno: errno)
            }
        text += ": " + string(outcome.reason.explanation)
        let remedy = outcome.reason.remedy
        if remedy.utf8CodeUnitCount > 0 { text += "; " + string(remedy) }
        return text
    }

    private static func typeChange(_ before: DeviceInterrupts, _ after: DeviceInterrupts) -> [String] {
        if before.activeType == after.activeType {
            let grown = Int(after.allocatedVectors) - Int(before.allocatedVectors)
            return grown > 0 ? ["\(grown) more vectors are allocated, and stay so until the type is disabled"] : []
        }
        var lines: [String] = []
        if let type = before.activeType { lines.append(type.label + " is disabled and its vectors are freed") }
        if let type = after.activeType {
            let count = type == .intx ? 1 : after.allocatedVectors
            lines.append(type.label + " is enabled with \(count) " + (count == 1 ? "vector" : "vectors") + " allocated")
        }
        return lines
    }

    /// Which vectors of `index` gained, changed or lost their eventfd.
    private static func assignments(
        _ index: IRQIndex, _ before: DeviceInterrupts, _ after: DeviceInterrupts
    ) -> [String] {
        // With one table for three types the change is told once, under the type with most vectors.
        if after.dialect.tables == .sharedByTypes, index == .intx || index == .msi { return [] }
        var gained = Runs()
        var replaced = Runs()
        var lost = Runs()
        for number in 0..<after.profile.count(index, after.dialect) {
            let vector = Vector(index, number)
            switch (before.eventFD(vector), after.eventFD(vector)) {
            case (nil, nil): break
            case (nil, .some): gained.append(number)
            case (.some, nil): lost.append(number)
            case (.some(let old), .some(let new)): if old != new { replaced.append(number) }
            }
        }
        var lines: [String] = []
        if !gained.isEmpty { lines.append(index.label + gained.text + " assigned") }
        if !replaced.isEmpty { lines.append(index.label + replaced.text + " moved to another eventfd") }
        if !lost.isEmpty { lines.append(index.label + lost.text + " de-assigned: what worked before works no more") }
        return lines
    }

    private static func lineChange(_ before: DeviceInterrupts, _ after: DeviceInterrupts) -> [String] {
        var lines: [String] = []
        if !before.isINTxMasked && after.isINTxMasked { lines.append("INTx is now masked") }
        if before.isINTxMasked && !after.isINTxMasked && after.activeType == .intx {
            lines.append("INTx is now unmasked")
        }
        if before.unmaskEventFD == nil, let eventFD = after.unmaskEventFD {
            lines.append("INTx is unmasked by file descriptor \(eventFD.number)")
        }
        if before.unmaskEventFD != nil, after.unmaskEventFD == nil { lines.append("the unmasking eventfd is removed") }
        return lines
    }

    private static func signals(_ outcome: Outcome) -> [String] {
        var runs: [(index: IRQIndex, runs: Runs)] = []
        var lost: UInt32 = 0
        for change in outcome.changes {
            if case .signalled(let vector, _) = change {
                if runs.last?.index == vector.index {
                    runs[runs.count - 1].runs.append(vector.number)
                } else {
                    runs.append((vector.index, Runs(vector.number)))
                }
            }
            if case .pendingDropped = change { lost += 1 }
        }
        var lines = runs.map { $0.index.label + $0.runs.text + " signalled" }
        if lost > 0 { lines.append("\(lost) pending interrupts are lost") }
        return lines
    }

    private static func string(_ text: StaticString) -> String {
        // SAFETY: the buffer is the static text itself, and it is copied before the closure returns.
        text.withUTF8Buffer { unsafe String(decoding: $0, as: UTF8.self) }
    }

    private static func name(ofErrno number: Int32) -> String {
        // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
        unsafe String(cString: irqmux_errno_name(number))
    }
}

extension DeviceInterrupts {
    /// What `request` would do to this device as it is now, and why. Changes nothing.
    public func explain(_ request: IRQRequest, lookUp: (Int32) -> EventFDLookup) -> Explanation {
        var after = self
        let outcome = after.apply(request, lookUp: lookUp)
        return Explanation(of: outcome, before: self, after: after)
    }

    /// What a request that nobody has checked would do, and why. Changes nothing.
    public func explain(_ raw: RawIRQRequest, lookUp: (Int32) -> EventFDLookup) -> Explanation {
        var after = self
        let outcome = after.apply(raw, lookUp: lookUp)
        return Explanation(of: outcome, before: self, after: after)
    }
}

extension IRQIndex {
    /// The index's name as people write it.
    public var label: String {
        switch self {
        case .intx: "INTx"
        case .msi: "MSI"
        case .msix: "MSI-X"
        case .err: "ERR"
        case .req: "REQ"
        }
    }
}

/// Ascending numbers, told as runs: "vectors 0…3, 7".
private struct Runs {
    private var runs: [ClosedRange<UInt32>] = []

    init() {}
    init(_ number: UInt32) { runs = [number...number] }

    var isEmpty: Bool { runs.isEmpty }

    mutating func append(_ number: UInt32) {
        if let last = runs.last, last.upperBound &+ 1 == number {
            runs[runs.count - 1] = last.lowerBound...number
        } else {
            runs.append(number...number)
        }
    }

    var text: String {
        let one = runs.count == 1 && runs[0].count == 1
        var text = one ? " vector " : " vectors "
        for (position, run) in runs.enumerated() {
            if position > 0 { text += ", " }
            text += "\(run.lowerBound)"
            if run.count > 1 { text += "…\(run.upperBound)" }
        }
        return text + (one ? " is" : " are")
    }
}
