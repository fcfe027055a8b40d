/// Why a request ended as it did.
public enum Reason: Equatable, Sendable, CaseIterable {
    /// The request itself is bad (docs/vfio-semantics.md, B.1).
    case headerUnreadable, argszTooSmall, unknownIndex, rangeWraps, unknownFlags, indexAbsent, rangeOutside
    case dataNotOne, payloadTooShort, payloadUnreadable, actionNotOne, emptyRange
    /// The index has no MASK and UNMASK.
    case msiNotMaskable, msixNotMaskable, eventNotMaskable
    /// The request does not go with what the device is doing already.
    case otherTypeActive, notEnabled, notEnabledLoopback, notEnabledMask, msixNotEnabledMask, intxTakesOneVector
    case maskByEventFD
    case unmaskEventFDBusy, noneToSignal, noneToRemove, eventTakesOneVector, belowMinusOne, mixedEventFDs
    /// A descriptor is bad, or the host lacks something.
    case notOpen, notAnEventFD, notConnected, lineShared, noVectorsAsked, noVectorsLeft, fewerVectors
    /// A vector was not allocated when the type was enabled, and cannot be now.
    case beyondAllocation, cannotGrow
    /// Success: what was done.
    case enabled, enabledWithoutTrigger, assigned, nothingAsked, disabled, looped, loopedNowhere, falseByte
    /// Success, of a kind that often surprises: read `explanation`.
    case loopbackGated, masked, alreadyMasked, unmasked, notMasked, stillAsserted, unmaskGated
    case messagesMasked, messagesUnmasked, unmaskInstalled, unmaskRemoved, removed, ignored
}

extension Reason {
    /// What happened, in one clause without an end stop.
    public var explanation: StaticString {
        switch self {
        case .headerUnreadable: "the 20 bytes of the header cannot be read"
        case .argszTooSmall: "argsz is smaller than the 20 bytes of the header"
        case .unknownIndex: "PCI devices have the indexes 0 (INTx), 1 (MSI), 2 (MSI-X), 3 (ERR) and 4 (REQ)"
        case .rangeWraps: "start + count does not fit in 32 bits"
        case .unknownFlags: "flags has bits that mean nothing"
        case .indexAbsent: "the device has no vector of this index"
        case .rangeOutside: "the range reaches beyond the device's vectors; this is checked for count 0 too"
        case .dataNotOne: "exactly one of DATA_NONE, DATA_BOOL and DATA_EVENTFD must be set"
        case .payloadTooShort: "argsz leaves too little room for count elements of this kind"
        case .payloadUnreadable: "the payload that argsz promises cannot be read"
        case .actionNotOne: "exactly one of ACTION_MASK, ACTION_UNMASK and ACTION_TRIGGER must be set"
        case .emptyRange: "count 0 goes with TRIGGER, NONE and start 0 only"
        case .msiNotMaskable: "MSI vectors cannot be masked through VFIO"
        case .msixNotMaskable: "MSI-X vectors cannot be masked through VFIO"
        case .eventNotMaskable: "ERR and REQ have no mask"
        default: stateExplanation
        }
    }

    private var stateExplanation: StaticString {
        switch self {
        case .otherTypeActive: "another type is enabled, and a device has one of INTx, MSI and MSI-X at a time"
        case .notEnabled: "the index is not enabled, so there is nothing to disable"
        case .notEnabledLoopback: "the index is not enabled, so there is nothing to signal"
        case .notEnabledMask: "INTx is not enabled, so there is nothing to mask or unmask"
        case .msixNotEnabledMask: "MSI-X is not enabled, so there is nothing to mask or unmask"
        case .intxTakesOneVector: "INTx takes start 0 and count 1"
        case .maskByEventFD: "the kernel has no masking by eventfd, only unmasking"
        case .unmaskEventFDBusy: "an eventfd that unmasks INTx is installed already"
        case .noneToSignal: "no eventfd is set, so there is nothing to signal"
        case .noneToRemove: "no eventfd is set, so there is nothing to remove"
        case .eventTakesOneVector: "ERR and REQ take start 0 and count 1"
        case .belowMinusOne: "ERR and REQ take -1 to remove the eventfd, and no other negative number"
        case .mixedEventFDs: "one message carries eventfds for all its vectors or for none"
        case .notOpen: "the file descriptor is not open"
        case .notAnEventFD: "the file descriptor is not an eventfd"
        case .notConnected: "the interrupt pin is not connected to the host"
        case .lineShared: "the interrupt line is shared, and the device cannot say by DisINTx whose interrupt it is"
        case .noVectorsAsked: "start + count is 0, and no type can be enabled with no vector"
        case .noVectorsLeft: "the host has no vector left"
        case .fewerVectors: "the host has fewer vectors than asked for; nothing was enabled"
        case .beyondAllocation: "the vector lies beyond those allocated when the type was enabled"
        case .cannotGrow: "the host has no vector left to add"
        default: successExplanation
        }
    }

    private var successExplanation: StaticString {
        switch self {
        case .enabled: "the type is enabled"
        case .enabledWithoutTrigger: "INTx is enabled with no eventfd: the next interrupt masks itself and tells nobody"
        case .assigned: "the assignments are changed"
        case .nothingAsked: "count is 0, so no vector is touched"
        case .disabled: "the type is disabled and its vectors are freed"
        case .looped: "the eventfds are signalled as if the device had raised the vectors"
        case .loopedNowhere: "no vector of the range has an eventfd, so nothing is signalled"
        case .falseByte: "every byte is false, so nothing happens"
        case .loopbackGated: "DisINTx is set in the command register, so nothing is signalled"
        case .messagesMasked: "the vectors are masked: what they raise stays pending"
        case .messagesUnmasked: "the vectors are unmasked, and what was pending has fired"
        case .masked: "INTx is masked"
        case .alreadyMasked: "INTx was masked already"
        case .unmasked: "INTx is unmasked"
        case .notMasked: "INTx was not masked"
        case .stillAsserted: "the line is still asserted, so INTx stays masked and is signalled again"
        case .unmaskGated: "DisINTx is set in the command register, so INTx stays masked"
        case .unmaskInstalled: "signalling the eventfd unmasks INTx from now on"
        case .unmaskRemoved: "INTx is no longer unmasked by an eventfd"
        case .removed: "the eventfd is removed"
        case .ignored: "the request is accepted and changes nothing"
        default: ""
        }
    }

    /// What to do about it, in one clause; empty where there is nothing to add.
    public var remedy: StaticString {
        switch self {
        case .msiNotMaskable, .msixNotMaskable:
            "take the vector's eventfd away with -1, or mask where the interrupt goes"
        case .eventNotMaskable: "take the eventfd away with -1"
        case .otherTypeActive: "disable it first (TRIGGER, NONE, start 0, count 0)"
        case .notEnabled: "keep track of the active type; teardown must not disable what is not enabled"
        case .notEnabledLoopback, .notEnabledMask, .msixNotEnabledMask: "enable it first by assigning an eventfd"
        case .maskByEventFD: "mask with NONE or BOOL"
        case .unmaskEventFDBusy: "remove it with -1 first"
        case .rangeOutside: "ask GET_IRQ_INFO for the number of vectors"
        case .noneToSignal: "assign an eventfd first"
        case .belowMinusOne: "use -1"
        case .mixedEventFDs: "split the range into runs"
        case .noVectorsLeft, .cannotGrow: "free vectors of other devices, or use fewer"
        case .fewerVectors: "ask again for at most that many"
        case .beyondAllocation: "disable the type and enable it with more vectors"
        case .lineShared: "use MSI or MSI-X"
        case .notConnected: "use MSI or MSI-X"
        case .noVectorsAsked: "ask for one vector at least"
        case .enabledWithoutTrigger: "assign an eventfd and unmask"
        case .unmaskGated, .loopbackGated: "clear DisINTx in configuration space"
        case .payloadTooShort: "argsz is 20 plus count times 1 (BOOL) or 4 (EVENTFD)"
        default: ""
        }
    }
}
