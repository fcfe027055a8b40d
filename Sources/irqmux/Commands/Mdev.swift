internal import ArgumentParser
internal import HostDevices

struct Mdev: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make, remove and list mediated devices.",
        discussion: """
            A mediated device is a part of a parent device that its driver hands out; --device mdev:UUID opens it.

            EXAMPLES
              irqmux mdev list
              irqmux mdev create mtty-1
              irqmux mdev remove 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
            """,
        subcommands: [MdevList.self, MdevCreate.self, MdevRemove.self])
}

struct MdevList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the types that parents offer, and the mediated devices that exist.")

    @Option(help: "The form of the report.")
    var format = ReportFormat.text

    @OptionGroup var host: HostOptions

    func run() throws {
        let report = DevicesReport(
            devices: [], mediated: host.tree.mediatedDevices(), types: host.tree.mediatedTypes(), tree: host.tree)
        let sink = try OutputSink(path: nil)
        switch format {
        case .text: try sink.write(report.mediatedText(terminal: .output))
        case .json: try sink.write(report.mediatedJSON.text)
        }
    }
}

struct MdevCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a mediated device and print its name.")

    @Option(help: "Whose type, where several parents offer it: a PCI address, or another name as mtty.")
    var parent: String?

    @Option(
        help: "The UUID it is to have (default: drawn by lot).", transform: { try UUIDArgument(parsing: $0) })
    var uuid: UUIDArgument?

    @OptionGroup var host: HostOptions

    @Argument(help: "The type, as 'irqmux mdev list' shows it.")
    var type: String

    func run() throws {
        guard !type.isEmpty, !type.contains("/"), parent.map({ !$0.contains("/") }) ?? true else {
            throw UsageError("a type and a parent are names without a slash; see 'irqmux mdev list'")
        }
        let uuid = try uuid?.uuid ?? host.tree.randomUUID()
        let made = try host.tree.createMediated(uuid, type: type, parent: parent)
        let group = made.group.map { ", IOMMU group \($0)" } ?? ""
        try OutputSink(path: nil).write("mdev:\(made.uuid)\n")
        Diagnostics.note("made of \(type) of \(made.parent)\(group)")
    }
}

struct MdevRemove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove a mediated device.")

    @OptionGroup var host: HostOptions

    @Argument(help: "The device's UUID.", transform: { try UUIDArgument(parsing: $0) })
    var uuid: UUIDArgument

    func run() throws { try host.tree.removeMediated(uuid.uuid) }
}
