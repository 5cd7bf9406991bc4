<?php
SetupWebPage::AddModule(__FILE__, 'intercom-bridge-messenger/@VERSION@', array(
	'label' => 'Intercom Messenger, shown by the Intercom-iTop bridge',
	'category' => 'integration',
	'dependencies' => array(),
	'mandatory' => false,
	'visible' => true,
	'datamodel' => array('main.intercom-bridge-messenger.php'),
	'webservice' => array(),
	'dictionary' => array(),
	'data.struct' => array(),
	'data.sample' => array(),
	'doc.manual_setup' => '',
	'doc.more_information' => '',
	'settings' => array(),
));
