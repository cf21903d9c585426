/**
 * How a command ends without success: one sentence on standard error that says what to do, and an exit code.
 *
 * gateway/cli/main.ts prints it. Every other error that a command throws is a fault of the program.
 */

/** Exit code 1. */
export class Failure extends Error {}

/** Exit code 2: the command line asks for something that cannot be. */
export class WrongUse extends Error {}
