internal import ArgumentParser
internal import CKernel
internal import Exerciser
internal import Glibc
internal import InterruptModel
internal import ServedExerciser
internal import VFIOUser

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve the software device over vfio-user, to a VMM or to another irqmux.",
        discussion: """
            Listens on a UNIX socket, which is made with permissions 0600 and removed at the end, and serves one \
            client after another; a second one at the same time is told EBUSY. A socket that a server left behind \
            is replaced; one that is served, or anything else at its path, is left alone. Interrupts follow \
            SET_IRQS as Linux has it (docs/vfio-user.md says where the protocol leaves a choice). SIGTERM and \
            Ctrl-C answer what has arrived, and end.

            Exit code 64 when the path cannot be a socket's, 69 when its directory is missing or another's, or \
            another server has it.

            EXAMPLES
              irqmux serve --socket /run/exerciser.sock
              irqmux serve --socket /run/e.sock --device software:msix=2048,msi=0,intx=0 --once
              irqmux serve --socket /run/e.sock --metrics /var/lib/node_exporter/irqmux.prom
              irqmux loopback --device vfio-user:/run/e.sock
            """)

    @Option(
        help: "Where clients connect: a path that nothing has yet, or a socket that nobody serves any more.",
        completion: .file())
    var socket: String

    @Option(
        help: ArgumentHelp("The device: software, or with a layout as in \(SoftwareLayout()) (default: software)."),
        transform: { try DeviceName(parsing: $0) })
    var device = DeviceName.software(SoftwareLayout())

    @Flag(help: "End when the first client has gone.")
    var once = false

    @Option(help: "A file for counters in the text form of Prometheus, fresh each second.", completion: .file())
    var metrics: String?

    @Option(help: "The form of the report at the end.")
    var format = ReportFormat.text

    func run() throws {
        guard !socket.isEmpty, socket.utf8.count < 108 else {
            throw UsageError("--socket needs a path of 1 to 107 bytes, as in /run/exerciser.sock")
        }
        let layout = try device.softwareLayout()
        // The client's eventfds, and as many again while a request is carried out.
        try DescriptorBudget.secure(vectors: UInt64(max(layout.msix, layout.msi, layout.intx)), each: 2)
        var configuration = layout.configuration
        configuration.dialect = .vfioUser
        let service = ExerciserService(try Exerciser(configuration))
        let interruption = Interruption.listening()
        let server: Server<ExerciserService>
        do throws(VFIOUserError) { server = try Server(service, path: socket) } catch {
            throw CommandFailure(servingOn: socket, error)
        }
        let file = try metrics.map { try MetricsFile($0, server.statistics) }
        let freshener = try file.map { try $0.keepFresh { server.statistics } }
        interruption.whenRequested { server.stop() }
        Diagnostics.note("serving \(layout) on \(socket)")
        do throws(VFIOUserError) { try server.run(once: once) } catch {
            throw CommandFailure(.failure, "\(error)")
        }
        server.withdraw()
        file?.end()
        freshener?.join()
        try file?.write(server.statistics)
        try OutputSink(path: nil).write(report(server.statistics, layout))
    }

    private func report(_ statistics: ServerStatistics, _ layout: SoftwareLayout) -> String {
        switch format {
        case .text:
            return "served \(statistics.connections) clients, turned away \(statistics.turnedAway), "
                + "messages \(statistics.messages), refused \(statistics.refused), broken \(statistics.broken)\n"
        case .json:
            return JSON.object([
                ("schema", .string("irqmux.serve/1")), ("device", .string(layout.description)),
                ("clients", .integer(statistics.connections)), ("turned_away", .integer(statistics.turnedAway)),
                ("messages", .integer(statistics.messages)), ("refused", .integer(statistics.refused)),
                ("broken", .integer(statistics.broken)),
            ]).text
        }
    }
}

extension CommandFailure {
    /// A socket that cannot be listened on: a path that cannot be one was typed wrongly; a directory that is not there
    /// or not this user's, and a path that another server has, are what the machine lacks.
    init(servingOn path: String, _ error: VFIOUserError) {
        let status: ExitStatus =
            switch error.errno {
            case ENOTSOCK, ENAMETOOLONG, ENOTDIR: .usage
            case ENOENT, EACCES, EPERM, EROFS, EADDRINUSE: .unavailable
            default: .failure
            }
        self.init(status, "\(path): \(error)")
    }
}
