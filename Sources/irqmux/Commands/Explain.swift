internal import ArgumentParser
internal import InterruptModel

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell what VFIO_DEVICE_SET_IRQS requests would do, and why.",
        discussion: """
            Carries the requests out in order on a model of a device that was just opened; no device is touched. \
            A request is index:action:data[@start][xcount or =values]: the index is intx, msi, msix, err or req, the \
            action mask, unmask or trigger, the data none, bool or eventfd. Values of eventfd are numbers, -1 to \
            take the eventfd away, closed for a number that is not open, file for a file that is no eventfd. \
            Without values eventfd@0x64 stands for 64 eventfds and bool@0x3 for three true bytes.

            Exit code 0 when every request would succeed, 1 when one would not.

            EXAMPLES
              irqmux explain msix:mask:none
              irqmux explain msix:trigger:eventfd@0x64 msix:trigger:none@3x1 msix:trigger:none@0x0
              irqmux explain msix:trigger:eventfd=5,6,7 msix:trigger:eventfd@1=8,closed
              irqmux explain --dialect linux-6.1 msix:trigger:eventfd@0x4 msix:trigger:eventfd@4x4
              irqmux explain --host-vectors 17 msix:trigger:eventfd@0x32
            """)

    @Option(
        help: "The software device's layout, as in software:msix=64,msi=32,intx=1.",
        transform: { try DeviceName(parsing: $0) })
    var device = DeviceName.software(SoftwareLayout())

    @Option(
        help: "Whose rules are followed: linux, linux-6.1 and later, or libvfio-user (default: linux).",
        completion: .list(["linux", "linux-6.1", "linux-6.12", "libvfio-user"]),
        transform: { try DialectArgument(parsing: $0) })
    var dialect = DialectArgument.newest

    @Option(
        help: "How many MSI or MSI-X vectors the host has left for the device (default: 2048).",
        transform: { try CountArgument.parse($0, of: "host vectors", in: 0...2048) })
    var hostVectors = CountArgument(2048)

    @Option(help: "The form of the report.")
    var format = ReportFormat.text

    @Argument(
        help: ArgumentHelp("The requests, in order.", valueName: "request"),
        transform: { try RequestArgument(parsing: $0) })
    var requests: [RequestArgument]

    func run() throws {
        let layout = try device.softwareLayout()
        var profile = DeviceProfile(
            hasINTx: layout.intx > 0, msiVectors: layout.msi, msixVectors: layout.msix)
        profile.hostVectors = UInt32(hostVectors.value)
        let report = ExplainReport(
            device: device, dialect: dialect, DeviceInterrupts(profile, dialect.dialect), requests)
        let sink = try OutputSink(path: nil)
        switch format {
        case .text: try sink.write(report.text(terminal: .output))
        case .json: try sink.write(report.json.text)
        }
        if !report.isOK { throw ExitCode(ExitStatus.checkFailed.rawValue) }
    }
}
