internal import ArgumentParser
internal import HostDevices

struct SRIOV: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sriov",
        abstract: "Enable virtual functions of a device.",
        discussion: """
            A virtual function is a PCI function with interrupts and an IOMMU identity of its own. irqmux devices \
            shows which devices have them, and how many.

            EXAMPLES
              irqmux sriov set 0000:01:00.0 4
              irqmux sriov set 0000:01:00.0 0
            """,
        subcommands: [SRIOVSet.self])
}

struct SRIOVSet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Set how many virtual functions are enabled, and print them.",
        discussion: """
            From one number to another the kernel goes through 0: the functions that were there go. Where the new \
            number fails, the former one is set again.
            """)

    @OptionGroup var host: HostOptions

    @Argument(help: "The physical function.", transform: { try AddressArgument(parsing: $0) })
    var address: AddressArgument

    @Argument(
        help: "How many virtual functions.",
        transform: { try CountArgument.parse($0, of: "virtual functions", in: 0...65535) })
    var count: CountArgument

    func run() throws {
        let functions = try host.tree.setVirtualFunctions(of: address.address, to: Int(count.value))
        let sink = try OutputSink(path: nil)
        for function in functions {
            let group = function.group.map { "group \($0)" } ?? "no IOMMU group"
            let isolation = function.group == nil ? "" : function.isIsolated ? ", isolated" : ", shared"
            try sink.write("\(function.address)  \(group)\(isolation)\n")
        }
    }
}
