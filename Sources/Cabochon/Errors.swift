// Errors.swift - the one error type of the engine.
//
// Every failure is a value of this type until CabochonABI turns it into a status, so that bad
// input can never take the host down. The raw values are the C ABI's status codes.

/// What went wrong, in a form that a program can switch on.
public enum ErrorCode: Int32, Sendable {
    /// An argument is outside its documented range.
    case invalidArgument = -1
    /// An allocation was refused.
    case outOfMemory = -2
    /// A file could not be opened, read or written.
    case io = -3
    /// A file's bytes break the rules of its format.
    case invalidFile = -4
    /// Well-formed, but of a kind that Cabochon does not run.
    case unsupported = -5
    /// More tokens than the context holds.
    case contextExceeded = -6
    /// Cancelled by the caller; the session stands as before the call.
    case cancelled = -7
    /// A compute backend is missing, unfit for this machine, or failed.
    case backend = -8
    /// The caller's buffer is too small; the needed size has been written.
    case bufferTooSmall = -9
    /// A handle that is null, freed or of another kind.
    case invalidHandle = -10
    /// Text that is not UTF-8.
    case invalidUTF8 = -11
    /// An option that this version of the library does not know.
    case unsupportedOption = -12
    /// An engine of the process that this one was forked from. Only the C ABI looks for it.
    case forked = -13
    /// A defect of Cabochon's own.
    case `internal` = -14
}

/// A failure with a message of one line that names what and where: the file, the key, the offset, both numbers.
public struct CabochonError: Error, CustomStringConvertible, Sendable {
    public let code: ErrorCode
    public let message: String

    public init(_ code: ErrorCode, _ message: String) {
        self.code = code
        self.message = message.onOneLine
    }

    public var description: String { message }
}

extension String {
    /// The same text with control characters and line ends spelled out, as "\n" or "\x1b". Names that files and
    /// callers bring must neither cut a message short nor add lines to somebody's log.
    var onOneLine: String {
        guard unicodeScalars.contains(where: \.isUnfitForLine) else { return self }
        var line = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "\0": line += "\\0"
            case "\t": line += "\\t"
            case "\n": line += "\\n"
            case "\r": line += "\\r"
            case _ where scalar.isUnfitForLine:
                let digits = String(scalar.value, radix: 16)
                line += (scalar.value < 0x100 ? "\\x" : "\\u") + (digits.utf8.count < 2 ? "0" : "") + digits
            default: line.unicodeScalars.append(scalar)
            }
        }
        return line
    }
}

extension Unicode.Scalar {
    /// Control characters, and Unicode's separators of lines and paragraphs.
    fileprivate var isUnfitForLine: Bool {
        value < 0x20 || (0x7f...0x9f).contains(value) || value == 0x2028 || value == 0x2029
    }
}
