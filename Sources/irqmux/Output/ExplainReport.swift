internal import InterruptModel

/// What a row of requests would do: `irqmux.explain/1`.
struct ExplainReport {
    struct Step {
        let request: String
        let outcome: Outcome
        let explanation: Explanation

        /// A positive result enables nothing, so it counts as a failure too.
        var isOK: Bool { outcome.verdict == .done }
    }

    let device: DeviceName
    let dialect: DialectArgument
    let steps: [Step]

    /// Carries `requests` out in order, from `interrupts` on.
    init(device: DeviceName, dialect: DialectArgument, _ interrupts: DeviceInterrupts, _ requests: [RequestArgument]) {
        self.device = device
        self.dialect = dialect
        var after = interrupts
        steps = requests.map { argument in
            let before = after
            let outcome = after.apply(argument.request, lookUp: RequestArgument.lookUp)
            let explanation = Explanation(of: outcome, before: before, after: after)
            return Step(request: argument.text, outcome: outcome, explanation: explanation)
        }
    }

    /// Whether every request would succeed.
    var isOK: Bool { steps.allSatisfy(\.isOK) }

    func text(terminal: Terminal) -> String {
        var text = ""
        for step in steps {
            let mark = step.isOK ? terminal.paint("✓", .green) : terminal.paint("✗", .red)
            text += "\(mark) \(terminal.paint(step.request, .bold))\n"
            text += "  \(step.explanation.headline)\n"
            for detail in step.explanation.details { text += "  - \(detail)\n" }
        }
        return text
    }

    var json: JSON {
        .object([
            ("schema", .string("irqmux.explain/1")),
            ("device", .string(device.description)),
            ("dialect", .string(dialect.description)),
            ("requests", .array(steps.map(Self.json))),
            ("ok", .boolean(isOK)),
        ])
    }

    private static func json(_ step: Step) -> JSON {
        var errno = JSON.null
        if case .refused(let number) = step.outcome.verdict { errno = .string(SystemFiles.errorName(number)) }
        return .object([
            ("request", .string(step.request)),
            ("ok", .boolean(step.isOK)),
            ("result", .number(Double(step.outcome.returnValue))),
            ("errno", errno),
            ("reason", .string("\(step.outcome.reason.explanation)")),
            ("remedy", .string("\(step.outcome.reason.remedy)")),
            ("changes", .array(step.explanation.details.map { .string($0) })),
        ])
    }
}
