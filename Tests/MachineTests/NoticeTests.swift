import Foundation
import IRQMux
import InterruptModel
import Testing
import VFIO

@Suite(
    "ERR and REQ from the kernel", .enabled(if: Machine.isHere, Machine.reason), .serialized, .timeLimit(.minutes(4)))
struct NoticeTests {
    /// A mux that holds a device and listens to its notices; it goes when the scope ends, and the device with it.
    struct Held: ~Copyable {
        var mux: Mux
        let id: DeviceID
        var keeper: NoticeKeeper
        private(set) var told: [DeviceNotices.Kind]

        /// The mux alone keeps the device.
        init(_ device: RealDevice, error: DeviceNotices.Rule = never, release: DeviceNotices.Rule = never) throws {
            var mux = try Mux()
            let id = try mux.attach(device)
            var keeper = NoticeKeeper(id, tag: 900, error: error, release: release)
            let told = try keeper.listen(on: &mux)
            self.mux = mux
            self.id = id
            self.keeper = keeper
            self.told = told
        }

        /// The next notice that there is to tell.
        mutating func notice() throws -> DeviceNotice {
            while true {
                let event = try mux.awaitEvent()
                if let notice = keeper.take(event, on: &mux) { return notice }
            }
        }
    }

    static let never = DeviceNotices.Rule(time: 3_600_000_000_000, action: .none)
    static let atOnce = DeviceNotices.Rule(time: 0, action: .detach)

    /// How the host asks for a device.
    enum Asking: String, CaseIterable {
        case unbind, remove

        func run(_ address: PCIAddress) throws {
            switch self {
            case .unbind: try Machine.write("\(address)", to: Machine.directory(address) + "/driver/unbind")
            case .remove: try Machine.write("1", to: Machine.directory(address) + "/remove")
            }
        }

        func expectDone(_ address: PCIAddress) {
            switch self {
            case .unbind: #expect(Machine.driver(of: address) == nil)
            case .remove: #expect(!FileManager.default.fileExists(atPath: Machine.directory(address)))
            }
        }
    }

    /// Asks on a thread of its own: the kernel lets it go on when the device is closed.
    private func ask(_ asking: Asking, _ address: PCIAddress) -> Thread {
        let thread = Thread { try? asking.run(address) }
        thread.start()
        return thread
    }

    private func join(_ thread: Thread) throws {
        for _ in 0..<6000 where !thread.isFinished { usleep(10_000) }
        try #require(thread.isFinished, "the host still waits for its device")
    }

    private func bringBack(_ address: PCIAddress) throws {
        if !FileManager.default.fileExists(atPath: Machine.directory(address)) {
            try Machine.write("1", to: "/sys/bus/pci/rescan")
        }
        try Machine.bind(address)
    }

    @Test(
        "REQ: the host asks for a device that is held, the owner is told, and gives it back",
        arguments: Asking.allCases)
    func release(asking: Asking) throws {
        let address = Machine.spareEdu
        do {
            var held = try Held(RealDevice(address, .intx))
            #expect(held.told.contains(.release))
            let host = ask(asking, address)
            guard case .opened(.release, _) = try held.notice() else { return #expect(Bool(false), "another notice") }
            #expect(!host.isFinished, "it waits as long as the device is open")
            #expect(held.keeper.answer(.release, on: &held.mux))
            try held.mux.detach(held.id)
            try join(host)
        }
        asking.expectDone(address)
        try bringBack(address)
    }

    @Test("REQ: nobody answers, the device is detached and closed, and the unbinding ends")
    func releaseByDefault() throws {
        let address = Machine.spareEdu
        var held = try Held(RealDevice(address, .intx), release: Self.atOnce)
        let host = ask(.unbind, address)
        guard case .opened(.release, _) = try held.notice() else { return #expect(Bool(false), "another notice") }
        #expect(try held.notice() == .expired(.release, .detach, errno: 0))
        try join(host)
        Asking.unbind.expectDone(address)
        try bringBack(address)
    }

    @Test("REQ: vectors that are assigned and masked do not hold the device up")
    func releaseWithVectors() throws {
        let address = Machine.spareEdu
        var held = try Held(RealDevice(address, .msi), release: Self.atOnce)
        let vector = try held.mux.connect(held.id, .msi, 0..<1)[0]
        try held.mux.mask(vector)
        let host = ask(.unbind, address)
        guard case .opened(.release, _) = try held.notice() else { return #expect(Bool(false), "another notice") }
        #expect(try held.notice() == .expired(.release, .detach, errno: 0))
        try join(host)
        try bringBack(address)
    }

    @Test("ERR: an error that the root port reports is told once, and the owner answers")
    func toldError() throws {
        var held = try Held(RealDevice(Machine.express, .msi))
        #expect(held.told == [.error, .release])
        for round in 1...3 {
            try injectError(Machine.express)
            guard case .opened(.error, _) = try held.notice() else { return #expect(Bool(false), "another notice") }
            #expect(held.keeper.answer(.error, on: &held.mux))
            #expect(held.keeper.notices.count(.error) == UInt64(round))
        }
    }

    @Test("ERR: nobody answers, and every vector is masked")
    func maskedByError() throws {
        var held = try Held(RealDevice(Machine.express, .msi), error: .init(time: 0, action: .mask))
        let vector = try held.mux.connect(held.id, .msi, 0..<1)[0]
        try injectError(Machine.express)
        guard case .opened(.error, _) = try held.notice() else { return #expect(Bool(false), "another notice") }
        #expect(try held.notice() == .expired(.error, .mask, errno: 0))
        #expect(try held.mux.isMasked(vector))
    }

    /// `struct aer_error_inj` of the kernel's aer_inject: the port reports an uncorrectable error that is not fatal
    /// (completion timeout, bit 14), and the kernel's error recovery asks the driver, which is vfio-pci.
    private func injectError(_ address: PCIAddress) throws {
        var bytes = [address.bus, address.device, address.function, 0]
        for word: UInt32 in [1 << 14, 0, 0, 0, 0, 0, address.domain] {
            for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: "/dev/aer_inject"))
        try file.write(contentsOf: Data(bytes))
        try file.close()
    }
}
