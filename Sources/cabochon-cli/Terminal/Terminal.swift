// Terminal.swift - standard input and output when a person sits at them.
//
// Everything goes through read(2) and write(2): tokens appear when they are written, and no buffer
// of ours can swallow what the next program on the line should read.

import Glibc

enum Terminal {
    static var inputIsTerminal: Bool { isatty(STDIN_FILENO) == 1 }
    static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Holds the place of a standard descriptor that is closed, as the system does for set-uid programs: the next file
    /// to be opened would get its number, and be read as input or written into. What is opened instead can neither be
    /// read as input nor written to, so that whoever tries is told what a closed descriptor tells.
    static func holdClosedDescriptors() {
        for (descriptor, mode) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)] {
            guard fcntl(descriptor, F_GETFD) < 0 else { continue }
            // The system gives the lowest number that is free, which is this one: those before it are open by now.
            guard open("/dev/null", mode) == descriptor else { Glibc.exit(1) }
        }
    }

    /// Columns of the terminal on standard output; 80 where it does not say.
    static var columns: Int {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Writes a command's results, or part of them, to standard output.
    static func print(_ text: String) throws(Failure) {
        guard write(text, to: STDOUT_FILENO) else { throw .standardOutput }
    }

    /// Writes all bytes of `text`. False, with errno set, where that failed; for what is not a result it is nothing
    /// that anybody could be told.
    @discardableResult
    static func write(_ text: String, to descriptor: Int32) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count, let start = bytes.baseAddress {
                let written = Glibc.write(descriptor, start + done, bytes.count - done)
                if written < 0 {
                    if errno == EINTR { continue }
                    return false
                }
                done += written
            }
            return true
        }
    }

    /// One line of words about the work, on standard error.
    static func note(_ text: String) { write(text + "\n", to: STDERR_FILENO) }
}

/// The terminal with echo, line editing and signals switched off, until `restore`.
///
/// Output processing stays on, so that "\n" still returns the carriage.
struct RawMode: ~Copyable {
    private var original = termios()

    /// Nil where standard input is no terminal.
    init?() {
        guard tcgetattr(STDIN_FILENO, &original) == 0 else { return nil }
        enter()
    }

    func enter() {
        var raw = original
        raw.c_iflag &= ~tcflag_t(BRKINT | ICRNL | INPCK | ISTRIP | IXON)
        raw.c_lflag &= ~tcflag_t(ECHO | ICANON | IEXTEN | ISIG)
        raw.c_cflag |= tcflag_t(CS8)
        // Drain, not flush: what was typed while the answer came stays.
        _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw)
        Terminal.write("\u{1B}[?2004h", to: STDOUT_FILENO)
    }

    func restore() {
        var original = original
        Terminal.write("\u{1B}[?2004l", to: STDOUT_FILENO)
        _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &original)
    }

    /// Stops the program as Ctrl-Z does, and comes back in raw mode when the shell continues it.
    func suspend() {
        restore()
        raise(SIGTSTP)
        enter()
    }
}
