internal import ArgumentParser
internal import Exerciser
internal import InterruptModel

struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell what a device is and which interrupts it has.",
        discussion: """
            Asks the device as VFIO_DEVICE_GET_IRQ_INFO does: for every index the number of vectors, and whether they \
            signal eventfds, can be masked, mask themselves when they fire (automasked), and keep the number they \
            were enabled with (noresize).

            Below that stands which way each vector's signals go, and why. By default nothing is connected; with \
            --route the vectors of --index are connected to a mux and routed to a handler, parked, or routed into a \
            guest: guest is the bypass inside the kernel, detour goes by way of the loop. For intx, guest is the way \
            of serving a line that the machine is best at, and detour has the loop drive the pin. The guest is a \
            virtual machine made for the question, and needs /dev/kvm.

            EXAMPLES
              irqmux info
              irqmux info --route guest
              irqmux info --route guest --index intx
              irqmux info --device software:msix=2048,msi=0,intx=0
              irqmux info --format json | jq '.indexes[] | select(.index == "msix") | .count'
            """)

    @Option(
        help: ArgumentHelp("The device: \(DeviceName.accepted) (default: software)."),
        transform: { try DeviceName(parsing: $0) })
    var device = DeviceName.software(SoftwareLayout())

    @Option(
        help: "Where the vectors are routed: handler, parked, guest or detour (default: not connected).",
        completion: .list(RouteChoice.allCases.map(\.rawValue)), transform: Info.route)
    var route: RouteChoice?

    @Option(
        help: "Which interrupts --route connects: intx, msi or msix (default: msix).",
        completion: .list(["intx", "msi", "msix"]), transform: Latency.index)
    var index = IRQIndex.msix

    @Option(help: "The form of the report.")
    var format = ReportFormat.text

    static func route(_ text: String) throws(UsageError) -> RouteChoice {
        guard let route = RouteChoice(rawValue: text) else {
            throw UsageError("not a route of info; accepted: handler, parked, guest, detour")
        }
        return route
    }

    func run() throws {
        let opened = try DeviceOpeners.open(device)
        let connected = try route.map { try ConnectedVectors.paths(of: opened, index, $0) } ?? []
        let report = try InfoReport(opened, connected: connected)
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
