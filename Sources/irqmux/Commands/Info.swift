internal import ArgumentParser
internal import Exerciser

struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell what a device is and which interrupts it has.",
        discussion: """
            Asks the device as VFIO_DEVICE_GET_IRQ_INFO does: for every index the number of vectors, and whether they \
            signal eventfds, can be masked, mask themselves when they fire (automasked), and keep the number they \
            were enabled with (noresize).

            EXAMPLES
              irqmux info
              irqmux info --device software:msix=2048,msi=0,intx=0
              irqmux info --format json | jq '.indexes[] | select(.index == "msix") | .count'
            """)

    @Option(
        help: ArgumentHelp("The device: software, or with a layout as in \(SoftwareLayout()) (default: software)."),
        transform: { try DeviceName(parsing: $0) })
    var device = DeviceName.software(SoftwareLayout())

    @Option(help: "The form of the report.")
    var format = ReportFormat.text

    func run() throws {
        let exerciser = try Exerciser(try device.softwareLayout().configuration)
        let report = try InfoReport(name: device, exerciser: exerciser)
        let sink = try OutputSink(path: nil)
        switch format {
        case .text: try sink.write(report.text(terminal: .output))
        case .json: try sink.write(report.json.text)
        }
    }
}

extension SoftwareLayout {
    /// The layout in the device's own terms.
    var configuration: ExerciserConfiguration { ExerciserConfiguration(intx: intx, msi: msi, msix: msix) }
}
