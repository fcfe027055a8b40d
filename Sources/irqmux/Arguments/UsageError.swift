/// What was typed cannot be meant: one line that says what is wrong and what is accepted. Ends in exit code 64.
struct UsageError: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
