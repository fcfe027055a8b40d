/// One thing that happens. Every step is possible in every state, so that any part of a history is a history too.
public struct Step: Equatable, Sendable, CustomStringConvertible {
    /// The kinds of step.
    public enum Kind: UInt8, CaseIterable, Sendable {
        // The guest.
        case control, writeRegister, maskVector, unmaskVector, program, oddAccess, readTable, readPending
        // The device.
        case raise, raiseAmid, storm, functionReset, backdoorReset
        // The host: its loop, its routes, its state.
        case turn, commit, haltAll, resumeAll, halt, resume, saveRestore
        // A level-triggered line.
        case assert, withdraw, disableINTx, guestRuns
        // What goes wrong, and that it goes well again.
        case descriptorsRunOut, eventFDCloses, completionsOverflow, commitsFail, heal
    }

    /// What happens.
    public var kind: Kind
    /// To which vector, where it matters.
    public var vector: UInt32
    /// How, where it matters.
    public var argument: UInt32

    /// One thing that happens.
    public init(_ kind: Kind, _ vector: UInt32 = 0, _ argument: UInt32 = 0) {
        self.kind = kind
        self.vector = vector
        self.argument = argument
    }

    /// In words.
    public var description: String {
        switch kind {
        case .control:
            "guest writes message control: \(argument & 2 == 0 ? "off" : "on")"
                + (argument & 1 == 0 ? "" : ", function mask")
        case .writeRegister: "guest writes register \(argument & 3) of entry \(vector): \(argument >> 2 & 7)"
        case .maskVector: "guest masks \(vector)"
        case .unmaskVector: "guest unmasks \(vector)"
        case .program: "guest programs and unmasks \(vector), data \(argument & 0xFF)"
        case .oddAccess: "guest makes an odd access, \(argument)"
        case .readTable: "guest reads entry \(vector)"
        case .readPending: "guest reads the pending bits"
        case .raise: "device raises \(vector)"
        case .raiseAmid: "device raises \(vector) amid what the host does next, after \(argument % 24) effects"
        case .storm: "device raises \(vector) \(argument % 50 + 2) times"
        case .functionReset: "function-level reset"
        case .backdoorReset: "the device is reset behind VFIO's back, and repaired"
        case .turn: "the loop takes a turn"
        case .commit: "routes are committed"
        case .haltAll: "the host holds every vector back"
        case .resumeAll: "the host holds no vector back"
        case .halt: "the host holds \(vector) back"
        case .resume: "the host does not hold \(vector) back"
        case .saveRestore: "state is saved and restored into a new machine"
        case .assert: "function \(vector) asserts"
        case .withdraw: "function \(vector) lets its line go by itself"
        case .disableINTx: "guest \(argument & 1 == 0 ? "sets" : "clears") DisINTx of function \(vector)"
        case .guestRuns: "guest handles \(argument & 3) functions and ends the interrupt"
        case .descriptorsRunOut: "no descriptors but \(argument % 6)"
        case .eventFDCloses: "somebody closes the \(argument & 1 == 0 ? "user" : "bypass") eventfd of \(vector)"
        case .completionsOverflow: "the completion queue overflows"
        case .commitsFail: "route commits fail"
        case .heal: "what went wrong goes well again"
        }
    }
}

/// A history: the machine it happens to, and its steps.
public struct History: Sendable {
    /// Where it came from.
    public let seed: UInt64
    /// The machine.
    public let shape: Shape
    /// What happens, in order.
    public var steps: [Step]

    /// What a history is about: MSI-X or MSI of one function, or INTx of several.
    public enum Kind: Sendable { case msix, msi, line }

    /// Who has the mask and pending bits of MSI: device and guest, the guest alone, since masking is the mux's, or
    /// neither.
    public enum Masks: Sendable { case everywhere, guest, nowhere }

    /// The machine: how many vectors, what the host has left, and whether MSI-X grows.
    public struct Shape: Sendable, CustomStringConvertible {
        /// Vectors of the function.
        public var vectors: UInt32
        /// What the vectors are.
        public var kind: Kind
        /// Vectors that the host has left.
        public var hostVectors: UInt32
        /// MSI-X vectors can be added after enabling.
        public var grows: Bool
        /// The device swaps eventfds by itself, and does not look at them.
        public var swaps: Bool
        /// Who has mask and pending bits of MSI.
        public var masks: Masks
        /// Something may go wrong.
        public var faults: Bool

        /// A machine without limits.
        public init(
            _ kind: Kind, vectors: UInt32, hostVectors: UInt32 = 2048, grows: Bool = true, swaps: Bool = false,
            masks: Masks = .everywhere, faults: Bool = true
        ) {
            self.masks = masks
            self.kind = kind
            self.vectors = vectors
            self.hostVectors = hostVectors
            self.grows = grows
            self.swaps = swaps
            self.faults = faults
        }

        /// In words.
        public var description: String {
            switch kind {
            case .line: "INTx of \(vectors) functions on one line"
            case .msi:
                "MSI, \(vectors) vectors, \(hostVectors) at the host, masks \(masks)" + (swaps ? ", swaps" : "")
            case .msix:
                "MSI-X, \(vectors) vectors, \(hostVectors) at the host, \(grows ? "grows" : "does not grow")"
                    + (swaps ? ", swaps" : "")
            }
        }
    }

    /// A history that somebody wrote down.
    public init(_ shape: Shape, _ steps: [Step]) {
        seed = 0
        self.shape = shape
        self.steps = steps
    }

    /// What the seed says.
    public init(seed: UInt64, steps count: Int = 200) {
        self.seed = seed
        var dice = SimDice(seed)
        let kind: Kind = [.msix, .msix, .msix, .msix, .msi, .msi, .line, .line][Int(dice.below(8))]
        let vectors: UInt32 =
            switch kind {
            // Few, so that much happens to each; now and then more than a word of pending bits has.
            case .msix: dice.below(64) == 0 ? 65 + dice.below(3) : 2 + dice.below(9)
            case .msi: 1 << dice.below(4)
            case .line: 1 + dice.below(3)
            }
        let scarce = dice.below(6) == 0
        shape = Shape(
            kind, vectors: vectors, hostVectors: scarce ? 1 + dice.below(vectors) : 2048,
            grows: dice.below(3) > 0, swaps: dice.below(2) == 0,
            masks: kind == .msi ? [.everywhere, .everywhere, .guest, .nowhere][Int(dice.below(4))] : .everywhere,
            faults: dice.below(2) == 0)
        steps = []
        steps.reserveCapacity(count)
        // Most of the time a guest has its interrupts on.
        if kind != .line, dice.below(8) > 0 { steps.append(Step(.control, 0, 2)) }
        while steps.count < count { steps.append(Self.step(&dice, shape)) }
    }

    private static let weights: [(Step.Kind, UInt32)] = [
        (.control, 3), (.writeRegister, 4), (.maskVector, 14), (.unmaskVector, 16), (.program, 10), (.oddAccess, 2),
        (.readTable, 4), (.readPending, 6), (.raise, 30), (.raiseAmid, 12), (.storm, 3), (.functionReset, 1),
        (.backdoorReset, 1),
        (.turn, 20), (.commit, 8), (.haltAll, 1), (.resumeAll, 2), (.halt, 2), (.resume, 3), (.saveRestore, 2),
        (.descriptorsRunOut, 1), (.eventFDCloses, 1), (.completionsOverflow, 2), (.commitsFail, 1), (.heal, 3),
    ]
    private static let table: [Step.Kind] = weights.flatMap { [Step.Kind](repeating: $0.0, count: Int($0.1)) }

    private static let lineTable: [Step.Kind] = [
        .assert, .assert, .assert, .withdraw, .disableINTx, .guestRuns, .guestRuns, .guestRuns, .turn, .turn, .turn,
        .turn, .functionReset, .storm, .saveRestore, .completionsOverflow,
    ]

    private static func step(_ dice: inout SimDice, _ shape: Shape) -> Step {
        while true {
            let kinds = shape.kind == .line ? lineTable : table
            let kind = kinds[Int(dice.below(UInt32(kinds.count)))]
            let step = Step(kind, dice.below(shape.vectors), UInt32(truncatingIfNeeded: dice.next() >> 32))
            if !shape.faults, kind.rawValue >= Step.Kind.descriptorsRunOut.rawValue { continue }
            return step
        }
    }
}
