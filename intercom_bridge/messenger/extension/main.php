<?php
/**
 * Shows the Intercom Messenger in iTop's portals and console, to whom the bridge says.
 *
 * For each session, iTop tells the bridge who is signed in, and keeps the answer for some minutes. The Messenger API
 * secret and the scope stay in the bridge. If the bridge does not answer in time, the page has no chat.
 *
 * @license MIT
 */
class IntercomBridgeMessenger
{
	const ADDRESS = '@ADDRESS@';
	const KEY_ID = '@KEY_ID@';
	const KEY = '@KEY@';
	const TIMEOUT_MS = 300;
	const MAX_ANSWER_BYTES = 65536;
	const RETRY_AFTER_SECONDS = 10;
	const LOG_EVERY_SECONDS = 60;
	const SESSION_KEY = 'intercom-bridge-messenger';
	const API_BASES = array('https://api-iam.intercom.io', 'https://api-iam.eu.intercom.io', 'https://api-iam.au.intercom.io');

	/** Returns the JavaScript for a page; "" for a page without a signed-in user. Never throws. */
	public static function ScriptFor($sPage)
	{
		try {
			$iUser = (int) UserRights::GetUserId();
			if ($iUser <= 0) {
				return '';
			}
			// An administrator who tries another account must not be taken for its owner.
			$aSettings = UserRights::IsImpersonated() ? null : self::GetSettings((string) $sPage, $iUser);
			return self::Script(hash('sha256', self::KEY_ID.$iUser), $aSettings);
		} catch (\Exception $e) {
			self::LogFailure($e->getMessage());
		} catch (\Error $e) {
			self::LogFailure($e->getMessage());
		}
		return '';
	}

	private static function GetSettings($sPage, $iUser)
	{
		$oPerson = UserRights::GetContactObject();
		if ($oPerson === null) {
			return null;
		}
		// Another account, another contact or another profile means another question.
		$aProfiles = array_values(UserRights::ListProfiles());
		$sSubject = hash('sha256', json_encode(array($sPage, $iUser, $oPerson->GetKey(), $aProfiles)));
		$aKnown = self::SessionGet();
		if (isset($aKnown[$sSubject]) && $aKnown[$sSubject]['until'] > time()) {
			return $aKnown[$sSubject]['settings'];
		}
		if (self::SecondsSinceFailure() < self::RETRY_AFTER_SECONDS) {
			return null;
		}
		$aAnswer = self::Ask(array(
			'time' => time(),
			'nonce' => bin2hex(random_bytes(16)),
			'page' => $sPage,
			'person' => array('class' => get_class($oPerson), 'id' => (int) $oPerson->GetKey()),
			'profiles' => $aProfiles,
			'language' => (string) UserRights::GetUserLanguage(),
		));
		$aSettings = isset($aAnswer['messenger']['settings']) ? $aAnswer['messenger']['settings'] : null;
		$iUntil = time() + ($aAnswer === null ? self::RETRY_AFTER_SECONDS : min(600, max(0, (int) $aAnswer['cache_seconds'])));
		// Only the answers for this account: nothing of another one stays in the session.
		$aKnown = array_filter($aKnown, function ($aEntry) use ($iUser) { return $aEntry['user'] === $iUser; });
		$aKnown[$sSubject] = array('user' => $iUser, 'until' => $iUntil, 'settings' => $aSettings);
		self::SessionSet($aKnown);
		return $aSettings;
	}

	/** Returns the bridge's answer, or null if there is none within the time. */
	private static function Ask($aQuestion)
	{
		$sBody = json_encode($aQuestion, JSON_PARTIAL_OUTPUT_ON_ERROR);
		$sAnswer = '';
		$hCurl = curl_init(self::ADDRESS.'/messenger/identity');
		curl_setopt_array($hCurl, array(
			CURLOPT_POST => true,
			CURLOPT_POSTFIELDS => $sBody,
			CURLOPT_WRITEFUNCTION => function ($hCurl, $sPart) use (&$sAnswer) {
				$sAnswer .= $sPart;
				return strlen($sAnswer) <= self::MAX_ANSWER_BYTES ? strlen($sPart) : 0;
			},
			CURLOPT_NOSIGNAL => true,
			CURLOPT_CONNECTTIMEOUT_MS => self::TIMEOUT_MS,
			CURLOPT_TIMEOUT_MS => self::TIMEOUT_MS,
			CURLOPT_HTTPHEADER => array(
				'Content-Type: application/json',
				'Expect:',
				'X-Bridge-Key: '.self::KEY_ID,
				'X-Bridge-Signature: '.hash_hmac('sha256', $sBody, self::KEY),
			),
		));
		$bIsComplete = self::Execute($hCurl);
		$iStatus = (int) curl_getinfo($hCurl, CURLINFO_HTTP_CODE);
		$sError = curl_error($hCurl);
		$aAnswer = $bIsComplete ? json_decode($sAnswer, true) : null;
		if ($iStatus !== 200 || !is_array($aAnswer) || !array_key_exists('messenger', $aAnswer) || !isset($aAnswer['cache_seconds'])) {
			$sWhat = $sError === '' ? "HTTP $iStatus" : $sError;
			// A slow answer concerns this person only: the bridge may have to ask iTop first, and keeps what it learns.
			$bIsSlow = curl_errno($hCurl) === CURLE_OPERATION_TIMEDOUT;
			self::LogFailure($iStatus === 401 ? "$sWhat: check this server's clock, and whether the key was replaced" : $sWhat, !$bIsSlow);
			return null;
		}
		return $aAnswer;
	}

	/**
	 * Returns whether there is a complete answer. curl waits for the system's resolver even after the time limit, by
	 * default ten seconds if no DNS server answers: with PHP 8.3 it does not wait, before that the resolver gives up
	 * after a second for each server.
	 */
	private static function Execute($hCurl)
	{
		if (defined('CURLOPT_QUICK_EXIT')) {
			curl_setopt($hCurl, constant('CURLOPT_QUICK_EXIT'), true);
		}
		if (!function_exists('putenv')) {
			return curl_exec($hCurl);
		}
		$sOptions = getenv('RES_OPTIONS');
		putenv('RES_OPTIONS=timeout:1 attempts:1');
		try {
			return curl_exec($hCurl);
		} finally {
			putenv($sOptions === false ? 'RES_OPTIONS' : "RES_OPTIONS=$sOptions");
		}
	}

	/** Logs why, and makes everybody's next pages not ask. Never throws, even if a warning becomes an exception. */
	private static function LogFailure($sReason, $bForEverybody = true)
	{
		try {
			if ($bForEverybody) {
				@touch(self::Marker('failure'));
			}
			if (self::MayLog()) {
				$sReason = str_replace(array("\r", "\n"), ' ', $sReason);
				IssueLog::Error('Intercom Messenger: the bridge at '.self::ADDRESS.' gave no usable answer ('.$sReason.'). The pages have no chat until it does.');
			}
		} catch (\Exception $e) {
		} catch (\Error $e) {
		}
	}

	/** Returns true once a minute, in one of all processes. */
	private static function MayLog()
	{
		$sMarker = self::Marker('logged');
		clearstatcache(true, $sMarker);
		if (!is_file($sMarker)) {
			// Only one process can create it.
			return @fopen($sMarker, 'x') !== false;
		}
		$hMarker = @fopen($sMarker, 'c');
		if ($hMarker === false || !flock($hMarker, LOCK_EX | LOCK_NB)) {
			return false;
		}
		$aStat = fstat($hMarker);
		return abs(time() - $aStat['mtime']) >= self::LOG_EVERY_SECONDS && touch($sMarker);
	}

	private static function SecondsSinceFailure()
	{
		$sMarker = self::Marker('failure');
		clearstatcache(true, $sMarker);
		// A clock that was set back must not switch the chat off until it has caught up.
		return is_file($sMarker) ? abs(time() - (int) @filemtime($sMarker)) : PHP_INT_MAX;
	}

	/** Returns the path of an empty file whose time of change is what matters. */
	private static function Marker($sName)
	{
		$sDirectory = APPROOT.'data';
		$sOfThisItop = self::SESSION_KEY.'-'.md5(APPROOT).'.'.$sName;
		return (is_writable($sDirectory) ? $sDirectory : sys_get_temp_dir()).'/'.$sOfThisItop;
	}

	private static function SessionGet()
	{
		if (class_exists('Combodo\\iTop\\Application\\Helper\\Session')) {
			$aKnown = \Combodo\iTop\Application\Helper\Session::Get(self::SESSION_KEY, array());
		} else {
			$aKnown = isset($_SESSION[self::SESSION_KEY]) ? $_SESSION[self::SESSION_KEY] : array();
		}
		return is_array($aKnown) ? $aKnown : array();
	}

	private static function SessionSet($aKnown)
	{
		if (class_exists('Combodo\\iTop\\Application\\Helper\\Session')) {
			\Combodo\iTop\Application\Helper\Session::Set(self::SESSION_KEY, $aKnown);
		} else {
			$_SESSION[self::SESSION_KEY] = $aKnown;
		}
	}

	/**
	 * Returns the script that ends what an earlier person left in this browser, and starts the Messenger if there are
	 * settings. Nothing in it can end the script element.
	 */
	private static function Script($sUser, $aSettings)
	{
		$sSettings = 'null';
		if (is_array($aSettings) && isset($aSettings['app_id'], $aSettings['api_base'], $aSettings['intercom_user_jwt'])
			&& is_string($aSettings['app_id']) && preg_match('/^[A-Za-z0-9_-]{1,64}$/D', $aSettings['app_id']) && in_array($aSettings['api_base'], self::API_BASES, true)) {
			$sSettings = json_encode($aSettings, JSON_HEX_TAG | JSON_HEX_AMP | JSON_HEX_APOS | JSON_HEX_QUOT);
		}
		return <<<JS
(function (user, settings) {
	"use strict";
	var KEY = "intercom-bridge-user";
	function read() { try { return window.localStorage.getItem(KEY); } catch (e) { return null; } }
	function write(value) { try { window.localStorage.setItem(KEY, value); } catch (e) { } }
	function forget() {
		if (typeof window.Intercom === "function") { window.Intercom("shutdown"); }
		var labels = window.location.hostname.split(".");
		document.cookie.split(";").forEach(function (pair) {
			var name = pair.split("=")[0].trim();
			if (!/^intercom-/.test(name)) { return; }
			for (var i = 0; i < labels.length; i++) {
				document.cookie = name + "=; Max-Age=0; path=/; domain=" + labels.slice(i).join(".");
			}
			document.cookie = name + "=; Max-Age=0; path=/";
		});
		try {
			Object.keys(window.localStorage).forEach(function (name) {
				if (/^intercom[.-]/.test(name)) { window.localStorage.removeItem(name); }
			});
		} catch (e) { }
	}
	if (read() !== null && read() !== user) { forget(); }
	document.addEventListener("click", function (event) {
		var link = event.target.closest ? event.target.closest("a[href*='logoff.php']") : null;
		if (link) { forget(); }
	}, true);
	if (settings === null) { if (read() !== null) { forget(); } return; }
	write(user);
	window.intercomSettings = settings;
	if (typeof window.Intercom === "function") { window.Intercom("boot", settings); return; }
	var queue = function () { queue.c(arguments); };
	queue.q = [];
	queue.c = function (call) { queue.q.push(call); };
	window.Intercom = queue;
	var script = document.createElement("script");
	script.async = true;
	script.src = "https://widget.intercom.io/widget/" + settings.app_id;
	document.head.appendChild(script);
})("$sUser", $sSettings);
JS;
	}
}

class IntercomBridgeMessengerPortal extends AbstractPortalUIExtension
{
	public function GetJSInline($oContainer)
	{
		return IntercomBridgeMessenger::ScriptFor(isset($_ENV['PORTAL_ID']) ? $_ENV['PORTAL_ID'] : '');
	}
}

if (interface_exists('iBackofficeReadyScriptExtension')) {
	class IntercomBridgeMessengerConsole implements iBackofficeReadyScriptExtension
	{
		public function GetReadyScript(): string
		{
			return IntercomBridgeMessenger::ScriptFor('backoffice');
		}
	}
} else {
	/** The console of iTop 2.7. */
	class IntercomBridgeMessengerConsole implements iPageUIExtension
	{
		public function GetNorthPaneHtml(iTopWebPage $oPage)
		{
			$oPage->add_ready_script(IntercomBridgeMessenger::ScriptFor('backoffice'));
			return '';
		}

		public function GetSouthPaneHtml(iTopWebPage $oPage)
		{
			return '';
		}

		public function GetBannerHtml(iTopWebPage $oPage)
		{
			return '';
		}
	}
}
