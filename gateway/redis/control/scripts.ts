/** The scripts of the control channel, which run on the subscribed connection. */
import { readScript } from '../script.ts';

export const blockScript = readScript('control/block.lua');
export const blocksScript = readScript('control/blocks.lua');
export const controlScripts = [blockScript, blocksScript];
