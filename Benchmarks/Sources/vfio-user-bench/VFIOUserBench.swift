// vfio-user against C peers in one run: the server's trigger, a request's round trip, 2048 vectors under 8 descriptors
// a message. Servers and peers are processes of their own. Each round measures both sides; a ratio is the median over
// the rounds.
import CVFIOUserPeer
import EventRing
import Foundation
import IRQMux
import InterruptModel
import VFIOUser

@main
enum VFIOUserBench {
    struct Row {
        typealias Measure = (_ oursFirst: Bool) throws -> (ours: Double, peer: Double)

        let name: String
        let limit: Double
        let measure: Measure
        var ours: [Double] = []
        var peers: [Double] = []

        init(_ name: String, _ limit: Double, _ measure: @escaping Measure) {
            (self.name, self.limit, self.measure) = (name, limit, measure)
        }

        /// The median of ours ÷ the peer's, round by round.
        var ratio: Double { median(zip(ours, peers).map { $0 / $1 }) }
    }

    static let samples = 2000

    /// vfio-user-bench [ROUNDS [WORD]]: as many rounds, of the rows whose names hold the word.
    static func main() throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == "serve" { return try BenchServer.main(Array(arguments.dropFirst())) }
        makeRoomForDescriptors()
        let rounds = arguments.first.flatMap { Int($0) } ?? 7
        var rows = rows(apart: peer_processors() > 1)
        if arguments.count > 1 { rows.removeAll { !$0.name.contains(arguments[1]) } }
        for round in 0..<rounds {
            for place in rows.indices {
                let (ours, peer) = try rows[place].measure(round % 2 == 0)
                rows[place].ours.append(ours)
                rows[place].peers.append(peer)
            }
        }
        exit(report(rows) ? 0 : 1)
    }

    /// Who talks to whom on which processor is decided here, for both sides alike: left to the scheduler, two processes
    /// share one or wake each other across two, by turns, and a median tells which it was more often.
    private static func rows(apart: Bool) -> [Row] {
        func pair(_ ours: @escaping () throws -> Double, _ peer: @escaping () throws -> Double) -> Row.Measure {
            { oursFirst in
                peer_keep_to(peer_processor(0))
                defer { peer_keep_to(-1) }
                let first = try oursFirst ? ours() : peer()
                let second = try oursFirst ? peer() : ours()
                return oursFirst ? (first, second) : (second, first)
            }
        }
        func trigger(_ name: String, spin: Bool) -> Row {
            Row("\(name) ÷ C eventfd pair", 1.1, pair({ try Self.trigger(spin: spin) }, { try bare(spin: spin) }))
        }
        func loopback(_ name: String, at place: Int) -> Row {
            Row("\(name) ÷ C echo", 1.5, pair({ try Self.loopback(at: place) }, { try echo(at: place) }))
        }
        var rows: [Row] = []
        if apart {
            rows = [
                trigger("trigger, blocking", spin: false), trigger("trigger, spinning", spin: true),
                loopback("SET_IRQS loopback, two processors", at: 1),
            ]
        }
        rows.append(loopback("SET_IRQS loopback, one processor", at: 0))
        rows.append(Row("2048 vectors, 8 a message ÷ C sender", 3, assignment))
        return rows
    }

    /// Whether every bar was reached.
    private static func report(_ rows: [Row]) -> Bool {
        for row in rows {
            let verdict = row.ratio <= row.limit ? "ok  " : "OVER"
            let name = row.name.padding(toLength: 44, withPad: " ", startingAt: 0)
            let figures = String(
                format: "%10.0f ns %10.0f ns %6.2f  (bar %.1f)", median(row.ours), median(row.peers), row.ratio,
                row.limit)
            print("\(verdict) \(name) \(figures)")
        }
        return rows.allSatisfy { $0.ratio <= $0.limit }
    }

    private static func makeRoomForDescriptors() {
        var limit = rlimit()
        // SAFETY: the structure lives for the calls.
        _ = unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = min(limit.rlim_max, 16384)
        // SAFETY: as above.
        _ = unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit)
    }

    static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    // MARK: Trigger to handler

    /// A served device raises in its process; a mux of the client takes delivery here.
    static func trigger(spin: Bool) throws -> Double {
        var memory: Int32 = -1
        // SAFETY: the number lives for the call.
        guard let page = unsafe peer_page_create(&memory) else { throw Failed() }
        defer {
            // SAFETY: nobody uses the page here any more.
            unsafe peer_page_close(page)
            close(memory)
        }
        let served = try Served(page: (memory, samples))
        let device = try VFIOUserDevice(path: served.path)
        var options = MuxOptions()
        options.loop.waiting = spin ? .spin : .block
        var mux = try Mux(options)
        let id = try mux.attach(device)
        try mux.connect(id, .msix, 0..<1)
        var latencies: [Double] = []
        latencies.reserveCapacity(samples)
        for sample in 1...samples {
            // SAFETY: the page is mapped until the end of this function.
            unsafe peer_page_take_turn(page, UInt32(sample))
            while mux.next() == nil { try mux.wait() }
            // SAFETY: as above.
            latencies.append(unsafe peer_now() - peer_page_stamp(page))
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

    static func loopback(at place: Int) throws -> Double {
        let served = try Served(at: place)
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

    static func echo(at place: Int) throws -> Double {
        var pair: [Int32] = [-1, -1]
        // SAFETY: the array has two elements.
        guard unsafe peer_socket_pair(&pair) == 0 else { throw Failed() }
        let child = peer_echo_start(pair[0], pair[1], peer_processor(Int32(place)))
        close(pair[1])
        guard child > 0 else { throw Failed() }
        defer {
            close(pair[0])
            peer_join(child)
        }
        var times = [Double](repeating: 0, count: samples)
        // SAFETY: the array has as many elements as stated.
        guard unsafe peer_round_trips(pair[0], UInt32(samples), &times) == 0 else { throw Failed() }
        return median(times)
    }

    // MARK: Many vectors

    /// A client, as soon as the one before has gone.
    private static func connect(_ path: String) throws -> VFIOUserClient {
        while true {
            do throws(VFIOUserError) { return try VFIOUserClient.connecting(to: path) } catch {
                guard error.errno == EBUSY else { throw error }
                usleep(1000)
            }
        }
    }

    private static func connectPeer(_ path: String) throws -> Int32 {
        while true {
            // SAFETY: the text lives for the call.
            let socket = unsafe path.withCString { unsafe peer_connect($0) }
            guard socket >= 0 else { throw Failed() }
            let result = peer_negotiate(socket)
            if result == 0 { return socket }
            close(socket)
            guard result == -EBUSY else { throw Failed() }
            usleep(1000)
        }
    }

    /// The same server for both: what differs is who sends.
    static func assignment(oursFirst: Bool) throws -> (ours: Double, peer: Double) {
        let served = try Served(vectors: 2048)
        let eventFDs = try (0..<2048).map { _ in try EventFD().release() }
        defer { for number in eventFDs { close(number) } }
        func ours() throws -> Double {
            var client = try connect(served.path)
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
            let socket = try connectPeer(served.path)
            defer { close(socket) }
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
            return (first, try peer())
        }
        let first = try peer()
        return (try ours(), first)
    }
}

struct Failed: Error {}
