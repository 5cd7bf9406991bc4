<?php
/**
 * Stand-ins for the few classes of iTop that the extension uses. Called as
 *
 *     php itop_stand_in.php DIRECTORY JSON
 *
 * with the directory of the installed extension, and {"version", "page", "user", "contact", "profiles", "language",
 * "session", "root", "impersonated"}. Prints {"script", "seconds", "session", "log"} as JSON. Every warning is an
 * exception, suppressed ones too.
 */
error_reporting(E_ALL);
set_error_handler(function ($iLevel, $sText, $sFile, $iLine) { throw new ErrorException($sText, 0, $iLevel, $sFile, $iLine); });

$GLOBALS['aRequest'] = json_decode($argv[2], true);
$GLOBALS['aLog'] = array();
define('APPROOT', $GLOBALS['aRequest']['root'].'/');

class Person
{
	public function GetKey() { return $GLOBALS['aRequest']['contact']; }
}

class UserRights
{
	public static function GetUserId($sLogin = '') { return $GLOBALS['aRequest']['user']; }
	public static function IsImpersonated() { return !empty($GLOBALS['aRequest']['impersonated']); }
	public static function GetContactObject() { return $GLOBALS['aRequest']['contact'] ? new Person() : null; }
	public static function ListProfiles($oUser = null) { return $GLOBALS['aRequest']['profiles']; }
	public static function GetUserLanguage() { return $GLOBALS['aRequest']['language']; }
}

class IssueLog
{
	public static function Error($sMessage, $sChannel = null, $aContext = array()) { $GLOBALS['aLog'][] = $sMessage; }
}

abstract class AbstractPortalUIExtension
{
	public function GetJSInline($oContainer) { return null; }
}

class iTopWebPage
{
	public $sReady = '';
	public function add_ready_script($sScript) { $this->sReady .= $sScript; }
}

if ($GLOBALS['aRequest']['version'] === '2.7') {
	$_SESSION = $GLOBALS['aRequest']['session'];
	interface iPageUIExtension
	{
		public function GetNorthPaneHtml(iTopWebPage $oPage);
		public function GetSouthPaneHtml(iTopWebPage $oPage);
		public function GetBannerHtml(iTopWebPage $oPage);
	}
} else {
	$GLOBALS['aSession'] = $GLOBALS['aRequest']['session'];
	class Session
	{
		public static function Get($key, $default = null) { return isset($GLOBALS['aSession'][$key]) ? $GLOBALS['aSession'][$key] : $default; }
		public static function Set($key, $value) { $GLOBALS['aSession'][$key] = $value; }
	}
	class_alias('Session', 'Combodo\\iTop\\Application\\Helper\\Session');
	interface iBackofficeReadyScriptExtension
	{
		public function GetReadyScript(): string;
	}
}

require $argv[1].'/main.intercom-bridge-messenger.php';

$fBegan = microtime(true);
if ($GLOBALS['aRequest']['page'] !== 'backoffice') {
	$_ENV['PORTAL_ID'] = $GLOBALS['aRequest']['page'];
	$oPortal = new IntercomBridgeMessengerPortal();
	$sScript = $oPortal->GetJSInline(null);
} elseif ($GLOBALS['aRequest']['version'] === '2.7') {
	$oPage = new iTopWebPage();
	$oConsole = new IntercomBridgeMessengerConsole();
	$oConsole->GetNorthPaneHtml($oPage);
	$sScript = $oPage->sReady;
} else {
	$oConsole = new IntercomBridgeMessengerConsole();
	$sScript = $oConsole->GetReadyScript();
}
echo json_encode(array(
	'script' => $sScript,
	'seconds' => microtime(true) - $fBegan,
	'session' => $GLOBALS['aRequest']['version'] === '2.7' ? $_SESSION : $GLOBALS['aSession'],
	'log' => $GLOBALS['aLog'],
));
