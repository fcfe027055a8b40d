internal import ArgumentParser
internal import HostDevices

struct Devices: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the host's PCI functions and mediated devices, and what stands in the way of using them.",
        discussion: """
            For each function: class, driver, IOMMU group with its other members, in which ways its functions can be \
            given away (mdev, SR-IOV, scalable), its interrupts, and why it cannot be used yet, with what to type. \
            Interrupts come from VFIO where the function is bound to it and opens, which resets it; --no-open reads \
            configuration space alone. A function that owns virtual functions is never opened: they would go.

            EXAMPLES
              irqmux devices
              irqmux devices 0000:01:00.0 --no-open
              irqmux devices --format json | jq -r '.devices[] | select(.usable) | .address'
            """)

    @Flag(inversion: .prefixedNo, help: "Ask VFIO itself where a function is bound to it.")
    var open = true

    @Flag(help: "List bridges too.")
    var all = false

    @Option(help: "The form of the report.")
    var format = ReportFormat.text

    @OptionGroup var host: HostOptions

    @Argument(
        help: ArgumentHelp("The functions (default: all).", valueName: "address"),
        transform: { try AddressArgument(parsing: $0) })
    var addresses: [AddressArgument] = []

    func run() throws {
        let tree = host.tree
        let wanted = addresses.isEmpty ? tree.pciAddresses() : addresses.map(\.address)
        var devices: [HostDevice] = []
        for address in wanted {
            let device = try tree.device(address, opening: open)
            if all || !addresses.isEmpty || !device.isBridge { devices.append(device) }
        }
        let report = DevicesReport(
            devices: devices, mediated: addresses.isEmpty ? tree.mediatedDevices() : [],
            types: addresses.isEmpty ? tree.mediatedTypes() : [], tree: tree)
        let sink = try OutputSink(path: nil)
        switch format {
        case .text: try sink.write(report.text(terminal: .output))
        case .json: try sink.write(report.json.text)
        }
    }
}
