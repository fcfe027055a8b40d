import CKernel
import InterruptModel
import Testing

/// Ways from one state of the assignments to another, counted.
@Suite("plans of SET_IRQS requests")
struct PlanTests {
    static func state(_ index: IRQIndex, _ numbers: [Int32]) -> IRQAssignments {
        var state = IRQAssignments()
        state.assign(index, numbers)
        return state
    }

    static func numbers(_ count: Int, from first: Int32 = 100) -> [Int32] { (0..<Int32(count)).map { first + $0 } }

    @Test("nothing to change is no request")
    func nothing() {
        #expect(IRQPlan(from: IRQAssignments(), to: IRQAssignments()).requests.isEmpty)
        let state = Self.state(.msix, Self.numbers(64))
        #expect(IRQPlan(from: state, to: state).requests.isEmpty)
    }

    @Test("2048 vectors are enabled, all changed, every other one changed, and disabled by one request each")
    func wholeTable() {
        let all = Self.state(.msix, Self.numbers(2048))
        #expect(IRQPlan(from: IRQAssignments(), to: all).requests == [.trigger(.msix, Self.numbers(2048))])
        let others = Self.numbers(2048, from: 2200)
        #expect(IRQPlan(from: all, to: Self.state(.msix, others)).requests == [.trigger(.msix, others)])
        var half = all
        for number in stride(from: UInt32(1), to: 2048, by: 2) {
            half.assign(.msix, start: number, [Int32(number) + 2200])
        }
        let plan = IRQPlan(from: all, to: half)
        #expect(plan.requests.count == 1)
        #expect(plan.requests[0].start == 1 && plan.requests[0].count == 2047)
        var none = all
        none.disable()
        #expect(IRQPlan(from: all, to: none).requests == [.disable(.msix)])
    }

    @Test("a request that carries 16 eventfds cuts 2048 changes into 128, the highest vectors first")
    func chunks() {
        var rules = IRQPlanRules()
        rules.mostVectors = 16
        let plan = IRQPlan(from: IRQAssignments(), to: Self.state(.msix, Self.numbers(2048)), rules)
        #expect(plan.requests.count == 128)
        #expect(plan.requests[0].start == 2032, "the first one allocates all")
        #expect(plan.requests[1].start == 0)
    }

    @Test("MSI vectors that need not change are left alone, since a message could be lost")
    func msiGaps() {
        let old = Self.state(.msi, [100, 101, 102, -1, 104])
        let new = Self.state(.msi, [200, 101, 202, -1, 204])
        let requests = IRQPlan(from: old, to: new).requests
        #expect(requests == [.trigger(.msi, [200]), .trigger(.msi, start: 2, [202, -1, 204])])
        let msix = IRQPlan(
            from: Self.state(.msix, [100, 101, 102, -1, 104]), to: Self.state(.msix, [200, 101, 202, -1, 204]))
        #expect(msix.requests == [.trigger(.msix, [200, 101, 202, -1, 204])])
    }

    @Test("without mixed removals, runs of assignments and of removals are requests of their own")
    func unmixed() {
        var rules = IRQPlanRules()
        rules.mixesRemovals = false
        let old = Self.state(.msix, Self.numbers(6))
        var new = old
        new.remove(.msix, 2..<4)
        new.assign(.msix, start: 4, [200, 201])
        let requests = IRQPlan(from: old, to: new, rules).requests
        #expect(requests == [.trigger(.msix, start: 2, [-1, -1]), .trigger(.msix, start: 4, [200, 201])])
    }

    @Test("an index that cannot grow is disabled and enabled as a whole; one that can takes one request")
    func growth() {
        let old = Self.state(.msix, Self.numbers(4))
        var new = old
        new.assign(.msix, start: 6, [300])
        var rules = IRQPlanRules()
        rules.growsMSIX = false
        let restart = IRQPlan(from: old, to: new, rules)
        #expect(restart.restarts)
        #expect(restart.requests == [.disable(.msix), .trigger(.msix, [100, 101, 102, 103, -1, -1, 300])])
        let grown = IRQPlan(from: old, to: new)
        #expect(!grown.restarts && grown.requests == [.trigger(.msix, start: 6, [300])])
    }

    @Test("one type gives way to another by being disabled first")
    func otherType() {
        let plan = IRQPlan(from: Self.state(.intx, [100]), to: Self.state(.msix, [200, 201]))
        #expect(plan.requests == [.disable(.intx), .trigger(.msix, [200, 201])])
    }

    @Test("another eventfd to unmask INTx is installed after the old one is removed; INTx is swapped in place")
    func unmask() {
        var old = Self.state(.intx, [100])
        old.unmaskINTx(by: 101)
        var new = Self.state(.intx, [102])
        new.unmaskINTx(by: 103)
        let unmask = [-1, 103].map { IRQRequest(.intx, .unmask, .eventfd([$0])) }
        #expect(IRQPlan(from: old, to: new).requests == [.trigger(.intx, [102])] + unmask)
    }

    @Test("vectors allocated and left without an eventfd are allocated again by one request")
    func allocatedOnly() {
        var state = Self.state(.msi, [100, 101, 102, 103])
        state.remove(.msi, 0..<4)
        #expect(IRQPlan(from: IRQAssignments(), to: state).requests == [.trigger(.msi, start: 3, [-1])])
    }

    @Test("ERR and REQ take one request each")
    func events() {
        var new = IRQAssignments()
        new.assign(.err, [100])
        new.assign(.req, [101])
        #expect(IRQPlan(from: IRQAssignments(), to: new).requests == [.trigger(.err, [100]), .trigger(.req, [101])])
        #expect(IRQPlan(from: new, to: IRQAssignments()).requests == [.trigger(.err, [-1]), .trigger(.req, [-1])])
    }

    /// The fewest ranges that cover all changed places, found by looking at every division.
    static func fewest(_ old: [Int32], _ new: [Int32], _ rules: IRQPlanRules, bridges: Bool) -> Int {
        var best = [Int](repeating: .max, count: old.count + 1)
        best[0] = 0
        for end in 0..<old.count {
            if old[end] == new[end] { best[end + 1] = best[end] }
            for start in 0...end where end - start < Int(rules.mostVectors) && best[start] < .max {
                let range = start...end
                let touches = range.contains { old[$0] == new[$0] && old[$0] != -1 }
                let isMixed = Set(range.map { new[$0] == -1 }).count > 1
                guard bridges || !touches, rules.mixesRemovals || !isMixed else { continue }
                best[end + 1] = min(best[end + 1], best[start] + 1)
            }
        }
        return best[old.count]
    }

    @Test("no division into ranges has fewer requests", arguments: 0..<20)
    func minimal(seed: UInt64) {
        var dice = Dice(seed)
        for _ in 0..<200 {
            let count = Int.random(in: 1...40, using: &dice)
            func draw(_ old: Int32?) -> Int32 {
                if let old, Bool.random(using: &dice) { return old }
                return Bool.random(using: &dice) ? -1 : .random(in: 100..<200, using: &dice)
            }
            let old = (0..<count).map { _ in draw(nil) }
            let new = old.map { draw($0) }
            var rules = IRQPlanRules()
            rules.mostVectors = [1, 3, 16, 2048].randomElement(using: &dice)!
            rules.mixesRemovals = Bool.random(using: &dice)
            rules.bridgesAssigned = Bool.random(using: &dice)
            let index: IRQIndex = count <= 32 && Bool.random(using: &dice) ? .msi : .msix
            let plan = IRQPlan(from: Self.state(index, old), to: Self.state(index, new), rules)
            let fewest = Self.fewest(old, new, rules, bridges: rules.bridgesAssigned && index == .msix)
            #expect(plan.requests.count == fewest, "seed \(seed): \(old) to \(new), \(rules)")
        }
    }
}
