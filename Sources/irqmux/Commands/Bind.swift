internal import ArgumentParser
internal import HostDevices

struct Bind: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give PCI functions to vfio-pci.",
        discussion: """
            Sets driver_override, takes the function from the driver that has it, and lets the kernel give it to \
            vfio-pci; all of those named, or none. What each had is noted in /run/irqmux, and unbind puts it back. \
            Whatever uses the function loses it: a disk, a network interface. Needs root.

            EXAMPLES
              irqmux bind 0000:01:00.0
              irqmux bind --group 0000:01:00.0
            """)

    @Flag(help: "Bind the other functions of the IOMMU group too, bridges excepted.")
    var group = false

    @OptionGroup var host: HostOptions

    @Argument(
        help: ArgumentHelp("The functions.", valueName: "address"), transform: { try AddressArgument(parsing: $0) })
    var addresses: [AddressArgument]

    func run() throws {
        let tree = host.tree
        var wanted = addresses.map(\.address)
        if group {
            for address in wanted {
                for member in try tree.groupMembers(address) where !wanted.contains(member) { wanted.append(member) }
            }
        }
        let done = try tree.bind(wanted)
        let sink = try OutputSink(path: nil)
        for address in wanted {
            let former = done.first { $0.address == address }
            let was = former.map { $0.driver.map { "was \($0)" } ?? "had no driver" } ?? "VFIO has it already"
            try sink.write("\(address): vfio-pci (\(was))\n")
        }
    }
}

struct Unbind: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take PCI functions away from VFIO and give them back what they had.",
        discussion: """
            Puts back the driver and the driver_override that bind noted; a function that something else gave to VFIO \
            goes to whatever driver the kernel finds. Waits while somebody has the device open. Needs root.

            EXAMPLES
              irqmux unbind 0000:01:00.0
            """)

    @OptionGroup var host: HostOptions

    @Argument(
        help: ArgumentHelp("The functions.", valueName: "address"), transform: { try AddressArgument(parsing: $0) })
    var addresses: [AddressArgument]

    func run() throws {
        let sink = try OutputSink(path: nil)
        for argument in addresses {
            try host.tree.unbind(argument.address)
            let now = try host.tree.device(argument.address).driver ?? "no driver"
            try sink.write("\(argument.address): \(now)\n")
        }
    }
}
