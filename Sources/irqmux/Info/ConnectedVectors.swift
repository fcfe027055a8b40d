internal import EventRing
internal import IRQMux
internal import InterruptModel
internal import KVM

/// A device's vectors, connected to a mux and routed, to ask which way their signals go.
enum ConnectedVectors {
    /// Connects every vector of `index` and routes it; what the mux's path oracle then says of each.
    ///
    /// The guest of a route into one is a machine without a processor: its interrupt controllers are all that a path
    /// depends on.
    static func paths(
        of device: OpenedDevice, _ index: IRQIndex, _ route: RouteChoice
    ) throws -> [(vector: Vector, path: VectorPath)] {
        let count = try device.interruptInfo(index).count
        guard count > 0 else { return [] }
        let descriptors = route.isIntoGuest ? DescriptorBudget.perGuestVector : DescriptorBudget.perVector
        try DescriptorBudget.secure(vectors: UInt64(count), each: descriptors)
        var options = MuxOptions()
        options.loop.capacity = Int(count)
        options.devices = 1
        // A line that is served past the mux has one, for what is on its way while that begins.
        options.fanOutTargets = 1
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        let vectors = try mux.connect(attached, index, 0..<count, route: .parked)
        if index == .intx, route.isIntoGuest {
            return try vectors.map { (Vector(.intx, 0), try servedPath(of: $0, route, on: &mux)) }
        }
        for (vector, target) in zip(vectors, try routes(count, route, on: &mux)) {
            try mux.route(vector, to: target)
        }
        return try vectors.enumerated().map { number, id in
            (Vector(index, UInt32(number)), try mux.path(of: id))
        }
    }

    /// A line has no route into a guest: it is served to one, past this process where that can be had.
    private static func servedPath(
        of line: VectorID, _ route: RouteChoice, on mux: inout Mux
    ) throws -> VectorPath {
        let machine = try machine()
        // A line of the first PIC that no legacy device has.
        let gsi: GSI = 5
        try mux.route(line, to: .handler)
        guard route == .guest else {
            try mux.serve(line, by: .userEOI(pin: INTxPin(gsi: gsi, of: machine)))
            return try mux.path(of: line)
        }
        let choice: INTxChoice
        do {
            choice = try INTxWay.best(for: INTxCapabilities(of: machine))
        } catch {
            throw CommandFailure(.unavailable, "\(error)")
        }
        try mux.serve(line, by: .kernelResample(machine: machine.number, gsi: gsi), because: choice)
        return try mux.path(of: line)
    }

    /// A route for each vector; into a guest, each with a message of its own, committed together.
    private static func routes(_ count: UInt32, _ route: RouteChoice, on mux: inout Mux) throws -> [Route] {
        guard route.isIntoGuest else {
            return [Route](repeating: route == .parked ? .parked : .handler, count: Int(count))
        }
        try mux.attach(owning: machine(), routes: .irqChipDefaults())
        var routes: [Route] = []
        for number in 0..<count {
            // Vectors below 32 are exceptions, those above 0xEF the local APIC's own.
            let gsi = try mux.allocateGSI(message: 0xfee0_0000, data: 0x30 + number % 0xc0)
            routes.append(route == .guest ? .guest(gsi) : .detour(gsi))
        }
        return routes
    }

    private static func machine() throws -> VirtualMachine {
        do throws(KVMError) {
            let machine = try VirtualMachine()
            try machine.createIRQChip(.full)
            return machine
        } catch {
            throw CommandFailure(.unavailable, "\(error) (irqmux doctor says more)")
        }
    }
}

/// Where `irqmux info` routes the vectors.
enum RouteChoice: String, CaseIterable {
    case handler, parked, guest, detour

    var isIntoGuest: Bool { self == .guest || self == .detour }
}
