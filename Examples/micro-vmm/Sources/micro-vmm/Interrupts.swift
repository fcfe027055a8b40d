// What the function's registers ask for, carried out by the mux: the dozen lines a VMM writes.
import IRQMux
import InterruptModel
import KVM
import Synchronization

/// Carries out for the one vector and the one line that the device has. On the virtual CPU's thread, which waits until
/// the mux has done it: when the guest's write returns, a mask masks.
struct Interrupts: MessageSink {
    let mux: MuxRemote
    let device: DeviceID
    let wires: Wires
    private var vector: VectorID?
    private var gsi: GSI?

    init(_ mux: MuxRemote, _ device: DeviceID, _ wires: Wires) {
        self.mux = mux
        self.device = device
        self.wires = wires
    }

    mutating func perform(_ operation: MessageOperation) -> Bool {
        do throws(MuxError) {
            try carryOut(operation)
            return true
        } catch {
            wires.refusal.withLock { $0 = error }
            return false
        }
    }

    private mutating func carryOut(_ operation: MessageOperation) throws(MuxError) {
        let (device, vector) = (device, vector)
        switch operation {
        case .enable:
            // Parked: what is raised before an entry is unmasked is kept, and delivered when it has a route.
            self.vector = try mux.perform { (mux) throws(MuxError) in
                try mux.connect(device, .msix, 0..<1, route: .parked)[0]
            }
        case .use(_, let message):
            guard let vector else { return }
            gsi = try mux.perform { (mux) throws(MuxError) in
                let gsi = try mux.allocateGSI(message: message.address, data: message.data)
                try mux.route(vector, to: .guest(gsi))
                return gsi
            }
        case .message(_, let message):
            guard let gsi else { return }
            try mux.perform { (mux) throws(MuxError) in
                try mux.setGSI(gsi, to: .message(address: message.address, data: message.data))
                _ = try mux.commitRoutes()
            }
        case .mask:
            guard let vector else { return }
            try mux.perform { (mux) throws(MuxError) in try mux.mask(vector) }
        case .unmask:
            guard let vector else { return }
            try mux.perform { (mux) throws(MuxError) in try mux.unmask(vector) }
        case .disable:
            let gsi = gsi
            (self.vector, self.gsi) = (nil, nil)
            try mux.perform { (mux) throws(MuxError) in
                try mux.disconnectAll(device, .msix)
                if let gsi { try mux.freeGSI(gsi) }
            }
        case .deliver:
            // The table itself keeps nothing: what pends is the mux's.
            break
        }
    }

    /// Whether something is kept for the vector.
    var isPending: Bool {
        guard let vector else { return false }
        do throws(MuxError) { return try mux.perform { (mux) throws(MuxError) in try mux.isPending(vector) } } catch {
            wires.refusal.withLock { $0 = error }
            return false
        }
    }

    /// Connects the line, served in the way that this machine is best at, or takes it away.
    mutating func use(line wanted: Bool) {
        let (device, wires) = (device, wires)
        guard wanted != (wires.connectedLine.withLock { $0 } != nil) else { return }
        do throws(MuxError) {
            try mux.perform { (mux) throws(MuxError) in
                wires.connectedLine.withLock { $0 = nil }
                guard wanted else { return try mux.disconnectAll(device, .intx) }
                let line = try mux.connect(device, .intx, 0..<1)[0]
                guard let way = wires.lineWay.withLock({ $0 }) else { return }
                try mux.serve(line, by: way.service(), because: way.choice)
                wires.connectedLine.withLock { $0 = line }
            }
        } catch { wires.refusal.withLock { $0 = error } }
    }
}
