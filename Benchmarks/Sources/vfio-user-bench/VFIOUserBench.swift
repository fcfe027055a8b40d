// vfio-user against C peers in one run: the server's trigger, a request's round trip, 2048 vectors under 8 descriptors
// a message. Each round measures both sides; a ratio is the median over the rounds.
import CVFIOUserPeer
import EventRing
import Foundation
import IRQMux
import InterruptModel
import Synchronization
import VFIOUser

@main
enum VFIOUserBench {
    struct Row {
        var name: String
        var limit: Double
        var ours: [Double] = []
        var peers: [Double] = []

        /// The median of ours ÷ the peer's, round by round.
        var ratio: Double { median(zip(ours, peers).map { $0 / $1 }) }
    }

    static let rounds = 7
    static let samples = 2000

    static func main() throws {
        var limit = rlimit()
        // SAFETY: the structure lives for the calls.
        _ = unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = min(limit.rlim_max, 16384)
        // SAFETY: as above.
        _ = unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit)
        var rows = [
            Row(name: "trigger, blocking ÷ C eventfd pair", limit: 1.1),
            Row(name: "trigger, spinning ÷ C eventfd pair", limit: 1.1),
            Row(name: "SET_IRQS loopback ÷ C echo of an empty request", limit: 1.5),
            Row(name: "2048 vectors, 8 a message ÷ C sender", limit: 3),
        ]
        for round in 0..<rounds {
            for (place, spin) in [false, true].enumerated() {
                rows[place].ours.append(try trigger(spin: spin))
                rows[place].peers.append(try bare(spin: spin))
            }
            rows[2].ours.append(try loopback())
            rows[2].peers.append(try echo())
            let (ours, peer) = try assignment(oursFirst: round % 2 == 0)
            rows[3].ours.append(ours)
            rows[3].peers.append(peer)
        }
        var isWithin = true
        for row in rows {
            let verdict = row.ratio <= row.limit
            isWithin = isWithin && verdict
            let figures = String(
                format: "%10.0f ns %10.0f ns %6.2f  (bar %.1f)", median(row.ours), median(row.peers), row.ratio,
                row.limit)
            print(
                "\(verdict ? "ok  " : "OVER") \(row.name.padding(toLength: 48, withPad: " ", startingAt: 0)) \(figures)"
            )
        }
        exit(isWithin ? 0 : 1)
    }

    static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    // MARK: Trigger to handler

    /// A served device raises on a thread of its own; a mux of the client takes delivery.
    static func trigger(spin: Bool) throws -> Double {
        let served = try Served()
        let device = try VFIOUserDevice(path: served.path)
        var options = MuxOptions()
        options.loop.waiting = spin ? .spin : .block
        var mux = try Mux(options)
        let id = try mux.attach(device)
        try mux.connect(id, .msix, 0..<1)
        let turn = Turn()
        let lines = served.device.lines!
        let writer = Thread {
            var seed: UInt64 = 88_172_645_463_325_252
            for sample in 1...samples {
                while turn.number.load(ordering: .acquiring) != sample {}
                // SAFETY: the seed lives for the call.
                unsafe peer_pause(&seed, 20_000, 60_000)
                turn.stamp.store(peer_now().bitPattern, ordering: .releasing)
                lines.raise(Vector(.msix, 0))
            }
        }
        writer.start()
        var latencies: [Double] = []
        for sample in 1...samples {
            turn.number.store(sample, ordering: .releasing)
            while mux.next() == nil { try mux.wait() }
            latencies.append(peer_now() - Double(bitPattern: turn.stamp.load(ordering: .acquiring)))
        }
        return median(latencies)
    }

    static func bare(spin: Bool) throws -> Double {
        var latencies = [Double](repeating: 0, count: samples)
        // SAFETY: the array has as many elements as stated.
        guard unsafe peer_eventfd_pair(spin, UInt32(samples), &latencies) == 0 else { throw Failed() }
        return median(latencies)
    }

    // MARK: Round trips

    static func loopback() throws -> Double {
        let served = try Served()
        var client = try VFIOUserClient.connecting(to: served.path)
        let eventFD = try EventFD()
        try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd([eventFD.number])))
        let request = IRQRequest(.msix, .trigger, .none(count: 1))
        var times: [Double] = []
        for _ in 0..<samples {
            let start = peer_now()
            try client.setInterrupts(request)
            times.append(peer_now() - start)
        }
        guard try eventFD.take() == UInt64(samples) else { throw Failed() }
        return median(times)
    }

    static func echo() throws -> Double {
        var pair: [Int32] = [-1, -1]
        // SAFETY: the array has two elements.
        guard unsafe peer_socket_pair(&pair) == 0, peer_echo_start(pair[1]) == 0 else { throw Failed() }
        defer { close(pair[0]) }
        var times = [Double](repeating: 0, count: samples)
        // SAFETY: the array has as many elements as stated.
        guard unsafe peer_round_trips(pair[0], UInt32(samples), &times) == 0 else { throw Failed() }
        return median(times)
    }

    // MARK: Many vectors

    /// The same server for both: what differs is who sends.
    static func assignment(oursFirst: Bool) throws -> (ours: Double, peer: Double) {
        let served = try Served(vectors: 2048)
        let eventFDs = try (0..<2048).map { _ in try EventFD().release() }
        defer { for number in eventFDs { close(number) } }
        func ours() throws -> Double {
            var client = try VFIOUserClient.connecting(to: served.path)
            var times: [Double] = []
            for _ in 0..<5 {
                let start = peer_now()
                try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(eventFDs)))
                times.append(peer_now() - start)
                try client.setInterrupts(IRQRequest(.msix, .trigger, .none(count: 0)))
            }
            return median(times)
        }
        func peer() throws -> Double {
            // SAFETY: the text lives for the call.
            let socket = unsafe served.path.withCString { unsafe peer_connect($0) }
            defer { close(socket) }
            guard socket >= 0, peer_negotiate(socket) == 0 else { throw Failed() }
            var times: [Double] = []
            for _ in 0..<5 {
                // SAFETY: the array lives for the call and has as many elements as stated.
                let time = unsafe peer_assign(socket, eventFDs, 2048, 8)
                guard time > 0, peer_disable(socket) == 0 else { throw Failed() }
                times.append(time)
            }
            return median(times)
        }
        if oursFirst {
            let first = try ours()
            served.awaitDeparture()
            return (first, try peer())
        }
        let first = try peer()
        served.awaitDeparture()
        return (try ours(), first)
    }
}

struct Failed: Error {}

/// What two threads pass each other.
final class Turn: Sendable {
    let number = Atomic<Int>(0)
    let stamp = Atomic<UInt64>(0)
}

/// A server on a thread of its own.
final class Served {
    let path = NSTemporaryDirectory() + "irqmux-bench-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    let device: BenchDevice
    private let server: Server<BenchDevice>
    private let ended = DispatchSemaphore(value: 0)

    init(vectors: UInt32 = 1) throws {
        device = BenchDevice(vectors)
        var options = ServerOptions()
        options.messageFDs = 8
        let server = try Server(device, path: path, options: options)
        self.server = server
        let ended = ended
        Thread {
            try? server.run()
            ended.signal()
        }.start()
    }

    func awaitDeparture() { while server.statistics.isConnected { usleep(100) } }

    deinit {
        server.stop()
        ended.wait()
    }
}

final class BenchDevice: MediatedDevice {
    let lines: InterruptLines?
    let regions = (0..<9).map { RegionDescription(size: $0 == 0 ? 4096 : 0) }

    init(_ vectors: UInt32) { lines = InterruptLines(DeviceProfile(msixVectors: vectors)) }

    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        [UInt8](repeating: 0, count: count)
    }
    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {}
    func reset() throws(DeviceError) { lines?.reset() }
}
