internal import ArgumentParser

struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell what this machine can do, and what to type to mend the rest.",
        discussion: """
            A line a check: ✓ as it should be, ! works but could be better, ✗ stops the main job. Below a line that \
            is not ✓ stands what to type. Exit code 1 when something stops the main job.

            EXAMPLES
              irqmux doctor
              irqmux doctor --vectors 2048
              irqmux doctor --format json | jq -r '.checks[] | select(.status != "ok") | .remedy'
            """)

    @Option(
        help: "How many vectors are wanted; the limits are checked against them.",
        transform: { try CountArgument.parse($0, of: "vectors", in: 1...16384) })
    var vectors = CountArgument(64)

    @Option(help: "The form of the report.")
    var format = ReportFormat.text

    func run() throws {
        let diagnosis = Diagnosis(of: .thisMachine(vectors: vectors.value))
        let sink = try OutputSink(path: nil)
        switch format {
        case .text: try sink.write(diagnosis.text(terminal: .output))
        case .json: try sink.write(diagnosis.json.text)
        }
        if !diagnosis.isOK { throw ExitCode(ExitStatus.checkFailed.rawValue) }
    }
}
