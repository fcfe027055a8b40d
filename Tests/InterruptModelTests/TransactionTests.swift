import CKernel
import InterruptModel
import Testing

/// Changes carried out against the exact rules of the kernel, with everything that can fail failing.
@Suite("transactions of SET_IRQS")
struct TransactionTests {
    /// The kernel's rules, and how often it was asked.
    struct Kernel {
        var device: DeviceInterrupts
        var requests = 0

        mutating func set(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
            requests += 1
            switch device.run(request).verdict {
            case .done: return 0
            case .available(let count): return count
            case .refused(let errno): throw DeviceError("SET_IRQS", errno: errno)
            }
        }

        mutating func change(
            _ state: inout IRQAssignments, to wanted: IRQAssignments, _ rules: IRQPlanRules
        ) throws(IRQChangeError) {
            try state.change(to: wanted, rules: rules) { (request) throws(DeviceError) in try set(request) }
        }
    }

    /// What the kernel holds, as far as requests decide it.
    static func held(_ device: DeviceInterrupts) -> IRQAssignments {
        var state = IRQAssignments()
        if let index = device.activeType {
            let count = index == .intx ? 1 : index == .msi ? device.profile.msiVectors : device.profile.msixVectors
            state.assign(index, (0..<count).map { device.number(Vector(index, $0)) ?? -1 })
            if let unmask = device.unmaskEventFD { state.unmaskINTx(by: unmask.number) }
        }
        state.assign(.err, [device.number(Vector(.err, 0)) ?? -1])
        state.assign(.req, [device.number(Vector(.req, 0)) ?? -1])
        return state
    }

    static func expectSame(_ left: IRQAssignments, _ right: IRQAssignments, _ comment: Comment) {
        #expect(left.active == right.active, comment)
        for index in IRQIndex.allCases {
            for number in 0..<(index == .msix ? UInt32(2048) : 32) {
                let vector = Vector(index, number)
                #expect(left.eventFD(vector) == right.eventFD(vector), comment)
            }
        }
        #expect(left.unmask == right.unmask, comment)
    }

    @Test("a bad eventfd among 2048 changes takes back all that the kernel did before it, by one more request")
    func badEventFD() throws {
        var profile = DeviceProfile(msixVectors: 2048)
        profile.hostVectors = 2048
        var kernel = Kernel(device: DeviceInterrupts(profile))
        var state = IRQAssignments()
        var wanted = state
        wanted.assign(.msix, PlanTests.numbers(2048))
        try kernel.change(&state, to: wanted, IRQPlanRules())
        #expect(kernel.requests == 1)
        let before = kernel.device
        var worse = state
        var numbers = PlanTests.numbers(2048, from: 2200)
        numbers[1500] = Descriptors.notOpen
        worse.assign(.msix, numbers)
        do throws(IRQChangeError) {
            try kernel.change(&state, to: worse, IRQPlanRules())
            Issue.record("a closed eventfd was taken")
        } catch { #expect(error.cause.errno == EBADF && error.isRolledBack && error.available == 0) }
        #expect(kernel.requests == 3)
        #expect(kernel.device == before)
        #expect(state == wanted)
    }

    @Test("too few vectors on the host leave the old type enabled and say how many there are")
    func shortage() throws {
        var profile = DeviceProfile(msiVectors: 32, msixVectors: 64)
        profile.hostVectors = 17
        var kernel = Kernel(device: DeviceInterrupts(profile))
        var state = IRQAssignments()
        var intx = state
        intx.assign(.intx, [100])
        intx.unmaskINTx(by: 101)
        try kernel.change(&state, to: intx, IRQPlanRules())
        let before = kernel.device
        var wanted = state
        wanted.assign(.msix, PlanTests.numbers(32))
        do throws(IRQChangeError) {
            try kernel.change(&state, to: wanted, IRQPlanRules())
            Issue.record("32 of 17 vectors were had")
        } catch {
            #expect(error.available == 17 && error.isRolledBack && error.cause.errno == ENOSPC)
        }
        #expect(kernel.device == before && state == intx)
    }

    @Test("a device that refuses to be put back is told of, and what is lost is known")
    func refusedRollback() throws {
        var kernel = Kernel(device: DeviceInterrupts(DeviceProfile()))
        var state = IRQAssignments()
        var old = state
        old.assign(.msi, [100, 101])
        try kernel.change(&state, to: old, IRQPlanRules())
        var wanted = state
        wanted.assign(.msi, [200, Descriptors.notOpen])
        var calls = 0
        do throws(IRQChangeError) {
            try state.change(to: wanted, rules: IRQPlanRules()) { (request) throws(DeviceError) in
                calls += 1
                guard calls == 1 else { throw DeviceError("SET_IRQS", errno: EIO) }
                return try kernel.set(request)
            }
            Issue.record("a closed eventfd was taken")
        } catch { #expect(!error.isRolledBack) }
        #expect(calls == 2 && !state.isCertain)
    }

    @Test(
        "whatever fails, the kernel holds what it held before; otherwise what was wanted",
        arguments: [Dialect.linux(6, 1), .linux(6, 12), .linux], [UInt64](0..<12))
    func property(dialect: Dialect, seed: UInt64) {
        var dice = Dice(seed &* 3 &+ (dialect.growsMSIX ? 1 : 0))
        var profile = DeviceProfile(msiVectors: 16, msixVectors: 48)
        profile.hostVectors = [4, 20, 48].randomElement(using: &dice)!
        profile.platformGrowsMSIX = Bool.random(using: &dice)
        var kernel = Kernel(device: DeviceInterrupts(profile, dialect))
        var state = IRQAssignments()
        var rules = IRQPlanRules()
        rules.growsMSIX = profile.growsMSIX(dialect)
        rules.mostVectors = [5, 2048].randomElement(using: &dice)!
        rules.bridgesAssigned = Bool.random(using: &dice)
        var failures = 0
        for round in 0..<120 {
            let comment: Comment = "seed \(seed), round \(round), \(dialect.name)"
            var wanted = state
            Self.draw(&wanted, &dice)
            let before = state
            do throws(IRQChangeError) {
                try kernel.change(&state, to: wanted, rules)
                Self.expectSame(Self.held(kernel.device), wanted, comment)
            } catch {
                failures += 1
                #expect(error.isRolledBack, comment)
                Self.expectSame(Self.held(kernel.device), before, comment)
            }
            Self.expectSame(Self.held(kernel.device), state, comment)
        }
        #expect(failures > 5, "seed \(seed): hardly anything failed")
    }

    /// Some changes at once, a bad eventfd among them now and then.
    static func draw(_ wanted: inout IRQAssignments, _ dice: inout Dice) {
        func number() -> Int32 {
            switch Int.random(in: 0..<40, using: &dice) {
            case 0: Descriptors.notOpen
            case 1: Descriptors.otherFile
            case 2..<10: -1
            default: .random(in: 100..<4000, using: &dice)
            }
        }
        for _ in 0..<Int.random(in: 1...4, using: &dice) {
            switch Int.random(in: 0..<12, using: &dice) {
            case 0: wanted.disable()
            case 1: wanted.assign(.err, [number()])
            case 2: wanted.assign(.req, [number()])
            case 3:
                wanted.assign(.intx, [number()])
                if Bool.random(using: &dice) { wanted.unmaskINTx(by: number()) }
            case 4, 5:
                let start = Int.random(in: 0..<16, using: &dice)
                let count = Int.random(in: 1...(16 - start), using: &dice)
                wanted.assign(.msi, start: UInt32(start), (0..<count).map { _ in number() })
            default:
                let start = Int.random(in: 0..<48, using: &dice)
                let count = Int.random(in: 1...(48 - start), using: &dice)
                wanted.assign(.msix, start: UInt32(start), (0..<count).map { _ in number() })
            }
        }
    }
}
